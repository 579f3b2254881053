package notify

import (
	"errors"
	"io"
	"mime"
	"net"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// post is a mail server that keeps what it gets.
type post struct {
	mu       sync.Mutex
	letters  []letter
	password string
}

type letter struct {
	from string
	to   []string
	body string
}

func (p *post) NewSession(*smtp.Conn) (smtp.Session, error) { return &visit{post: p}, nil }

type visit struct {
	post    *post
	trusted bool
	letter  letter
}

func (v *visit) AuthMechanisms() []string { return []string{sasl.Plain} }

func (v *visit) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != "gatehouse" || password != v.post.password {
			return errors.New("no")
		}
		v.trusted = true
		return nil
	}), nil
}

func (v *visit) Mail(from string, _ *smtp.MailOptions) error {
	if v.post.password != "" && !v.trusted {
		return smtp.ErrAuthRequired
	}
	v.letter = letter{from: from}
	return nil
}

func (v *visit) Rcpt(to string, _ *smtp.RcptOptions) error {
	v.letter.to = append(v.letter.to, to)
	return nil
}

func (v *visit) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	v.letter.body = string(b)
	v.post.mu.Lock()
	defer v.post.mu.Unlock()
	v.post.letters = append(v.post.letters, v.letter)
	return err
}

func (v *visit) Reset()        {}
func (v *visit) Logout() error { return nil }

func (p *post) serve(t *testing.T) string {
	s := smtp.NewServer(p)
	s.AllowInsecureAuth = true
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return l.Addr().String()
}

func TestMail(t *testing.T) {
	p := &post{password: "correct horse"}
	target := Target{Name: "mail", Kind: "email", SMTP: p.serve(t), TLS: "none", Username: "gatehouse", Password: kept(t, p.password), From: "gate@example.com", To: []string{"Ada <ada@example.com>", "bob@example.com"}}
	e := pending()
	e.Connection = "orders\r\nBcc: evil@example.com"
	if err := Deliver(t.Context(), target, e, time.Now); err != nil {
		t.Fatal(err)
	}
	if len(p.letters) != 1 {
		t.Fatal(p.letters)
	}
	got := p.letters[0]
	m, err := mail.ReadMessage(strings.NewReader(got.body))
	if err != nil {
		t.Fatal(err)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil {
		t.Fatal(err)
	}
	if got.from != "gate@example.com" || strings.Join(got.to, " ") != "ada@example.com bob@example.com" || m.Header.Get("Bcc") != "" || !strings.HasPrefix(subject, "[Gatehouse] Approval needed on orders") {
		t.Fatalf("%+v", got)
	}
	if !strings.Contains(got.body, "https://gw/approvals/ap-1") {
		t.Fatal(got.body)
	}

	target.Password = kept(t, "wrong horse")
	if err := Deliver(t.Context(), target, e, time.Now); err == nil || strings.Contains(err.Error(), "horse") {
		t.Fatal(err)
	}
	// A server that offers no TLS gets neither a password nor a letter.
	target.TLS = ""
	if err := Deliver(t.Context(), target, e, time.Now); err == nil || len(p.letters) != 1 {
		t.Fatal(err, len(p.letters))
	}
}
