package postgres

import "testing"

func TestSuggest(t *testing.T) {
	for name, want := range map[string]string{
		"email": "pii.email", "e_mail": "pii.email", "contactEmail": "pii.email", "Email": "pii.email", "email2": "pii.email", "customer_email_address": "pii.email",
		"ssn": "pii.national_id", "social_security_number": "pii.national_id", "passport_no": "pii.national_id", "taxId": "pii.national_id",
		"phone": "pii.phone", "mobile_number": "pii.phone", "home_phone": "pii.phone", "tel": "pii.phone",
		"dob": "pii.birth_date", "birthDate": "pii.birth_date", "date_of_birth": "pii.birth_date",
		"first_name": "pii.name", "surname": "pii.name", "billing_street": "pii.address", "zip_code": "pii.address", "ip": "pii.ip_address",
		"password": "secret", "password_hash": "secret", "api_key": "secret", "session_token": "secret", "iban": "pii.payment", "card_number": "pii.payment",
		"gender": "pii.sensitive", "diagnosis": "pii.health",
		"id": "", "name": "", "total": "", "created_at": "", "status": "", "email_sent_at": "", "is_email_verified": "", "token_count": "", "shipping": "", "telemetry": "", "description": "", "emailed": "", "zipped": "", "company": "",
	} {
		if got := suggest(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
