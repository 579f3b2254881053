package postgres

import (
	"regexp"
	"strings"

	"gatehouse/internal/gate"
	guard "gatehouse/internal/sqlguard/postgres"
)

// telling are names of columns that tell what is in them: words between underscores, in small letters.
var telling = []struct {
	label string
	name  *regexp.Regexp
}{
	{"secret", words(`password|passwd|passphrase|pwd|secret|token|api_?key|private_?key|access_?key|credentials?|otp|totp|salt|hash(ed)?_password`)},
	{"pii.email", words(`e_?mail|email_?addr(ess)?|e_mails|emails|mailbox`)},
	{"pii.national_id", words(`ssn|social_security(_n(o|umber))?|national_id|nin|tax_?id|tax_n(o|umber)|tin|itin|passport(_n(o|umber))?|driver_?s?_licen[cs]e|nhs_n(o|umber)|aadhaar|cpf|bsn|dni|nif`)},
	{"pii.phone", words(`phones?|phone_?n(o|umber)|telephone|tel|mobile(_n(o|umber))?|cell(_?phone)?|fax|msisdn`)},
	{"pii.birth_date", words(`dob|birth_?date|birth_?day|date_of_birth|born(_on)?`)},
	{"pii.name", words(`first_?name|last_?name|full_?name|sur_?name|given_?name|family_?name|middle_?name|maiden_?name`)},
	{"pii.address", words(`street|address|address_?line_?[0-9]?|post_?code|postal_?code|zip_?code|zip|latitude|longitude|geo_?location`)},
	{"pii.ip_address", words(`ip|ip_?addr(ess)?|remote_addr|client_ip`)},
	{"pii.payment", words(`credit_?card|card_?n(o|umber)|pan|cvv|cvc|iban|bic|account_?n(o|umber)|bank_?account|routing_?n(o|umber)|sort_?code`)},
	{"pii.health", words(`diagnos(is|es)|medical_.*|blood_?type|disabilit(y|ies)`)},
	{"pii.sensitive", words(`gender|ethnicity|race|religion|nationality|marital_?status|sexual_orientation|salary`)},
}

func words(alternatives string) *regexp.Regexp {
	return regexp.MustCompile(`(^|_)(` + alternatives + `)(_|[0-9]|$)`)
}

// kept says that a name is about something, not the thing itself: email_sent_at, password_changed, token_count.
var kept = regexp.MustCompile(`_(at|on|count|sent|verified|confirmed|changed|updated|created|expires|expiry|enabled|required|opt_in|id|type|status|template|policy)$|^(is|has|can|num)_`)

var humps = regexp.MustCompile(`([a-z0-9])([A-Z])`)

// lookAlikes are unlabelled columns whose names look as if what is in them should have a label. It is a hint,
// by names alone: nothing of the tables' rows is read.
func lookAlikes(c *guard.Catalog) []gate.Labelled {
	var out []gate.Labelled
	for _, r := range sortedByName(c) {
		for _, column := range r.Columns {
			if label := suggest(column.Name); label != "" && (len(column.Labels) == 0 || column.Labels[0] == unreviewed) && column.Type.Name != "bool" {
				out = append(out, gate.Labelled{Field: r.Name.String() + "." + guard.Quote(column.Name), Labels: []string{label}})
			}
		}
	}
	return out
}

// suggest is the label that a column's name asks for; "" where it tells nothing.
func suggest(name string) string {
	name = strings.ToLower(humps.ReplaceAllString(name, "${1}_$2"))
	name = strings.Trim(strings.NewReplacer("-", "_", " ", "_", ".", "_").Replace(name), "_")
	for _, t := range telling {
		at := t.name.FindStringIndex(name)
		if at == nil {
			continue
		}
		if rest := name[at[1]:]; kept.MatchString(name) && (rest != "" || strings.HasPrefix(name, "is_") || strings.HasPrefix(name, "has_")) {
			return ""
		}
		return t.label
	}
	return ""
}
