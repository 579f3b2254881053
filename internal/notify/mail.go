package notify

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/wneessen/go-mail"
)

// mailer sends mail by SMTP.
type mailer struct{ target Target }

func (m *mailer) deliver(ctx context.Context, msg Message, e Event) error {
	letter := mail.NewMsg(mail.WithNoDefaultUserAgent())
	if err := letter.From(m.target.From); err != nil {
		return err
	}
	if err := letter.To(m.target.To...); err != nil {
		return err
	}
	letter.Subject("[Gatehouse] " + title(e))
	letter.SetDateWithValue(e.At)
	letter.SetMessageIDWithValue(msg.ID + "@gatehouse") // the same again when it is sent twice
	letter.SetGenHeader("Auto-Submitted", "auto-generated")
	letter.SetBodyString(mail.TypeTextPlain, letterText(e))
	client, err := m.client()
	if err != nil {
		return err
	}
	return client.DialAndSendWithContext(ctx, letter)
}

func (m *mailer) client() (*mail.Client, error) {
	host, port, err := net.SplitHostPort(m.target.SMTP)
	if err != nil {
		return nil, err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("smtp: %q is not a port", port)
	}
	options := []mail.Option{mail.WithPort(number), mail.WithTimeout(attempt)}
	switch m.target.TLS {
	case "none":
		options = append(options, mail.WithTLSPolicy(mail.NoTLS))
	case "tls":
		options = append(options, mail.WithSSL())
	default:
		options = append(options, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	if m.target.Username != "" {
		password, err := m.target.Password.Resolve()
		if err != nil {
			return nil, err
		}
		method := mail.SMTPAuthAutoDiscover
		if m.target.TLS == "none" {
			method = mail.SMTPAuthPlainNoEnc
		}
		options = append(options, mail.WithSMTPAuth(method), mail.WithUsername(m.target.Username), mail.WithPassword(password))
	}
	return mail.NewClient(host, options...)
}

// letterText is the body of a letter: a fact a line, and the link.
func letterText(e Event) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", title(e))
	for _, f := range facts(e) {
		fmt.Fprintf(&b, "%s: %s\n", f.name, strings.ReplaceAll(f.value, "\n", "\n    "))
	}
	if e.URL != "" {
		fmt.Fprintf(&b, "\nLook at it and answer, signed in: %s\n", e.URL)
	}
	b.WriteString("\nNothing can be answered by replying to this mail.\n")
	return b.String()
}
