package postgres

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/gate"
	"gatehouse/internal/identity"
	guard "gatehouse/internal/sqlguard/postgres"
)

// Codes in place of a protocol version in a startup packet (PostgreSQL documentation, 55.7).
const (
	protocol3     = 3 << 16
	cancelRequest = 1234<<16 | 5678
	sslRequest    = 1234<<16 | 5679
	gssRequest    = 1234<<16 | 5680
)

// signIn brings a client from its first byte to a session that is ready for statements. It returns nil
// and nil for a client that only cancelled something, or left.
func (s *server) signIn(ctx context.Context, conn net.Conn, known *identity.Identity) (*session, error) {
	in := newWireReader(conn)
	out := conn
	encrypted := false
	negotiated := false
	if first, err := in.r.Peek(1); err != nil {
		return nil, quiet(err)
	} else if first[0] == 0x16 && s.tls != nil { // a TLS record: direct negotiation, PostgreSQL 17
		over, err := s.encrypt(ctx, &buffered{Conn: conn, r: in.r})
		if err != nil {
			return nil, err
		}
		if over.ConnectionState().NegotiatedProtocol != "postgresql" {
			return nil, errors.New("direct TLS without the ALPN protocol postgresql")
		}
		in, out, encrypted, negotiated = newWireReader(over), over, true, true
	}
	for range 4 {
		code, body, err := startupPacket(in.r)
		if err != nil {
			refuseStart(out, err)
			return nil, quiet(err)
		}
		switch {
		case code == cancelRequest:
			s.cancels.cancel(body)
			return nil, nil
		case code == gssRequest || code == sslRequest && (s.tls == nil || negotiated):
			if _, err := out.Write([]byte{'N'}); err != nil {
				return nil, quiet(err)
			}
		case code == sslRequest:
			// Bytes that came before the handshake would be taken for encrypted ones (CVE-2021-23222).
			if in.r.Buffered() > 0 {
				return nil, errors.New("bytes between SSLRequest and the TLS handshake")
			}
			if _, err := out.Write([]byte{'S'}); err != nil {
				return nil, quiet(err)
			}
			over, err := s.encrypt(ctx, conn)
			if err != nil {
				return nil, err
			}
			in, out, encrypted, negotiated = newWireReader(over), over, true, true
		case code>>16 == 3:
			return s.start(ctx, &client{conn: out, in: in, known: known, encrypted: encrypted, minor: code & 0xffff}, body)
		default:
			err := &errMessage{"08P01", fmt.Sprintf("Protocol %d.%d is not supported; use 3.0.", code>>16, code&0xffff)}
			refuseStart(out, err)
			return nil, err
		}
	}
	return nil, errors.New("too many negotiation packets")
}

func (s *server) encrypt(ctx context.Context, conn net.Conn) (*tls.Conn, error) {
	over := tls.Server(conn, s.tls)
	if err := over.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return over, nil
}

// buffered is a connection whose first bytes were read already.
type buffered struct {
	net.Conn
	r *bufio.Reader
}

func (b *buffered) Read(p []byte) (int, error) { return b.r.Read(p) }

func startupPacket(r *bufio.Reader) (uint32, []byte, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := int64(binary.BigEndian.Uint32(head[:4]))
	if n < 8 || n > maxStartup {
		return 0, nil, &errMessage{"08P01", "That is not a PostgreSQL startup packet."}
	}
	body := make([]byte, n-8)
	_, err := io.ReadFull(r, body)
	return binary.BigEndian.Uint32(head[4:]), body, unexpected(err)
}

// quiet drops errors that only say that a client left.
func quiet(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func refuseStart(w io.Writer, err error) {
	r, _ := refusalFrom(err)
	var m *errMessage
	if errors.As(err, &m) || r.Code != gate.Unavailable {
		w.Write(encodeError(nil, 'E', errorFields("FATAL", r)))
	}
}

// client is one that has sent its startup message.
type client struct {
	conn      net.Conn
	in        *wireReader
	known     *identity.Identity // it is inside of the gateway, where nobody waits
	encrypted bool
	minor     uint32
	unknown   []string // protocol extensions that it asked for
	settings  map[string]string
	path      *guard.Path // the search path that it asked for
	way       string      // how it signs in, one of ways; "" is password
	issuer    string      // the name of the issuer that it asks for; "" is the first
}

// start signs a client in: parameters, token, connection, policy.
func (s *server) start(ctx context.Context, c *client, body []byte) (*session, error) {
	one, err := s.open(ctx, c, body)
	if err == nil {
		return one, nil
	}
	r, internal := refusalFrom(err)
	if internal {
		s.log.Error("a client could not be signed in", "client", c.conn.RemoteAddr().String(), "error", err)
	}
	c.conn.Write(encodeError(nil, 'E', errorFields("FATAL", r)))
	return nil, fmt.Errorf("%s: %s", r.Code, r.Reason)
}

func (s *server) open(ctx context.Context, c *client, body []byte) (*session, error) {
	database, err := c.parameters(body)
	if err != nil {
		return nil, err
	}
	if c.known == nil && !c.encrypted && !loopback(c.conn) {
		return nil, &gate.Refusal{
			Code:   gate.IdentityRejected,
			Reason: "A token is taken over TLS only.",
			Remedy: "Connect with sslmode=verify-full (or at least require).",
		}
	}
	who, err := s.identify(ctx, c)
	if err != nil {
		return nil, err
	}
	t := s.targets[database]
	if t == nil {
		return nil, &gate.Refusal{
			Code:     gate.PolicyDenied,
			SQLState: "3D000",
			Reason:   fmt.Sprintf("There is no connection named %q.", database),
			Remedy:   "Give the name of a connection as the database name.",
		}
	}
	catalog, facts, err := t.catalogs.Current(ctx)
	if err != nil {
		return nil, s.unreachable(t, err)
	}
	one := newSession(s, t, c, who.Principal.ID, catalog)
	one.gate, err = s.gate.Open(ctx, gate.Opening{
		Identity:   who,
		Connection: t.connection,
		Protocol:   kind,
		Client:     c.conn.RemoteAddr().String(),
		Attributes: c.attributes(),
		Waiting:    one.hold,
		Unattended: c.known != nil,
		Kill:       one.terminate,
	})
	if err != nil {
		return nil, err
	}
	one.facts, one.blocks = facts, guard.MajorVersion(facts.ServerVersion) > 15
	one.state = guard.Beginning(c.path)
	return one, nil
}

// unreachable is what a client is told when the catalog cannot be read; the cause goes to the log.
func (s *server) unreachable(t *target, err error) error {
	s.log.Error("the catalog cannot be read", "connection", t.connection.Name, "error", err)
	if r, ok := gate.AsRefusal(err); ok {
		return r
	}
	return upstreamDown(t.connection.Name)
}

// parameters reads the startup message's parameters: the database, and the settings that may be given.
func (c *client) parameters(body []byte) (database string, err error) {
	f := fields{b: body}
	c.settings = map[string]string{}
	user := ""
	for !f.bad {
		name := f.string()
		if name == "" {
			break
		}
		value := f.string()
		switch name = strings.ToLower(name); {
		case strings.HasPrefix(name, "_pq_."):
			c.unknown = append(c.unknown, name)
		case name == "user":
			user = value
		case name == "database":
			database = value
		case name == "replication" && slices.Contains([]string{"false", "off", "no", "0"}, strings.ToLower(value)):
		case name == "options" && strings.TrimSpace(value) == "":
		case name == "client_encoding":
			if !slices.Contains([]string{"utf8", "utf-8", "unicode", "sql_ascii", "auto"}, strings.ToLower(strings.Trim(value, "'"))) {
				return "", startupRefusal(name, "Only the client encoding UTF8 is understood.", "Set PGCLIENTENCODING=UTF8.")
			}
		case name == "options":
			options, ok := splitOptions(value)
			if !ok {
				return "", startupRefusal(name, "Of the startup parameter options only -c name=value is understood.", "Leave the rest out (also out of PGOPTIONS).")
			}
			for _, o := range options {
				if err := c.setting(o[0], o[1]); err != nil {
					return "", err
				}
			}
		default:
			if err := c.setting(name, value); err != nil {
				return "", err
			}
		}
	}
	if err := f.end("Startup"); err != nil {
		return "", err
	}
	if database == "" {
		database = user
	}
	return database, nil
}

// setting takes up a setting that the client gives.
func (c *client) setting(name, value string) error {
	if mine, err := c.signInSetting(strings.ToLower(name), value); mine {
		return err
	}
	if len(value) > 256 {
		return startupRefusal(name, fmt.Sprintf("The value of %s is too long.", shorten(name)), "Give a shorter one.")
	}
	pass, path, err := guard.Startup(name, value)
	var ge *guard.Error
	switch {
	case errors.As(err, &ge):
		return startupRefusal(name, ge.Message, ge.Remedy)
	case err != nil:
		return err
	case pass:
		c.settings[strings.ToLower(name)] = value
	case path != nil:
		c.path = path
	}
	return nil
}

// splitOptions takes the command-line options of a startup message apart: -c name=value and --name=value, with
// a backslash before white space in a value (PostgreSQL documentation, 34.1.2).
func splitOptions(s string) (out [][2]string, ok bool) {
	var words []string
	word, in := "", false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			word, in = word+s[i:i+1], true
		case s[i] == ' ' || s[i] >= '\t' && s[i] <= '\r':
			if in {
				words = append(words, word)
			}
			word, in = "", false
		default:
			word, in = word+s[i:i+1], true
		}
	}
	if in {
		words = append(words, word)
	}
	for i := 0; i < len(words); i++ {
		w := words[i]
		switch {
		case w == "-c" && i+1 < len(words):
			i++
			w = words[i]
		case strings.HasPrefix(w, "-c"), strings.HasPrefix(w, "--"):
			w = w[2:]
		default:
			return nil, false
		}
		name, value, found := strings.Cut(w, "=")
		if !found || name == "" {
			return nil, false
		}
		out = append(out, [2]string{strings.ReplaceAll(name, "-", "_"), value})
	}
	return out, true
}

func startupRefusal(_, reason, remedy string) error {
	return &gate.Refusal{Code: gate.NotUnderstood, Reason: reason, Remedy: remedy}
}

func shorten(s string) string {
	if len(s) > 64 {
		s = s[:64] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}

func (c *client) attributes() map[string]string {
	if name := c.settings["application_name"]; name != "" {
		return map[string]string{"application_name": clean(name)}
	}
	return nil
}

// negotiation is what goes before the question for a token: NegotiateProtocolVersion, where the client asked
// for more than there is.
func (c *client) negotiation() []byte {
	if c.minor == 0 && len(c.unknown) == 0 {
		return nil
	}
	body := binary.BigEndian.AppendUint32(nil, protocol3)
	body = binary.BigEndian.AppendUint32(body, uint32(len(c.unknown)))
	for _, name := range c.unknown {
		body = append(append(body, name...), 0)
	}
	return appendMessage(nil, 'v', body)
}

// password asks for the token: AuthenticationCleartextPassword.
func (c *client) password() (string, error) {
	out := c.negotiation()
	out = appendMessage(out, 'R', []byte{0, 0, 0, 3})
	if _, err := c.conn.Write(out); err != nil {
		return "", err
	}
	typ, body, err := c.in.next(maxPassword)
	if err != nil {
		return "", err
	}
	if typ != 'p' {
		return "", &errMessage{"08P01", "A password message was expected."}
	}
	f := fields{b: body}
	token := f.string()
	if err := f.end("Password"); err != nil {
		return "", err
	}
	clear(body)
	if token == "" {
		return "", &gate.Refusal{
			Code:   gate.IdentityRejected,
			Reason: "The password is empty; it must be an access token.",
			Remedy: "Put the output of `gatehouse token` into PGPASSWORD or a passfile.",
		}
	}
	return token, nil
}

// greet tells a client that it is signed in: parameters, cancel key, ready.
func (s *session) greet() error {
	out := appendMessage(nil, 'R', []byte{0, 0, 0, 0})
	for _, p := range s.facts.parameters(s.settings) {
		out = appendMessage(out, 'S', []byte(p[0]), []byte{0}, []byte(p[1]), []byte{0})
	}
	pid, secret := s.server.cancels.mint(s)
	s.pid = pid
	key := binary.BigEndian.AppendUint32(nil, pid)
	key = binary.BigEndian.AppendUint32(key, secret)
	out = appendMessage(out, 'K', key)
	out = appendMessage(out, 'Z', []byte{'I'})
	if err := s.writeNow(out); err != nil {
		s.server.cancels.forget(pid)
		return err
	}
	return s.conn.SetDeadline(time.Time{})
}

func loopback(c net.Conn) bool {
	for _, a := range []net.Addr{c.RemoteAddr(), c.LocalAddr()} {
		tcp, ok := a.(*net.TCPAddr)
		if !ok || !tcp.IP.IsLoopback() {
			return false
		}
	}
	return true
}
