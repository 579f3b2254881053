package test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gatehouse/internal/gate"
)

// crm is a Go API with customers in it, and what it was asked.
type crm struct {
	*httptest.Server
	mu   sync.Mutex
	seen []*http.Request
	body []string
}

const (
	apiSecret = "the-api-s-own-credential-4711"
	rawEmail  = "ada.lovelace@example.com"
	rawPhone  = "+44 20 7946 0958"
)

func startCRM(t testing.TB) *crm {
	c := &crm{}
	one := `{"id": 7, "name": "Ada", "email": "` + rawEmail + `", "phone": "` + rawPhone + `", "note": "é\u00e9"}`
	mux := http.NewServeMux()
	reply := func(w http.ResponseWriter, kind, body string) {
		w.Header().Set("Content-Type", kind)
		w.Header().Set("ETag", `"`+rawEmail+`"`)
		w.Header().Set("Set-Cookie", "session="+rawEmail)
		w.Header().Set("X-Customer", rawEmail)
		w.Header().Set("Link", `</v1/customers?email=`+rawEmail+`&page=2>; rel="next"; title="`+rawEmail+`"`)
		io.WriteString(w, body)
	}
	mux.HandleFunc("GET /v1/customers", func(w http.ResponseWriter, r *http.Request) { reply(w, "application/json", "["+one+","+one+"]") })
	mux.HandleFunc("GET /v1/customers/{id}", func(w http.ResponseWriter, r *http.Request) {
		switch r.PathValue("id") {
		case "7":
			reply(w, "application/json; charset=utf-8", one)
		case "dup":
			reply(w, "application/json", `{"email":"`+rawEmail+`","email":"`+rawEmail+`"}`)
		case "text":
			reply(w, "text/plain", "call "+rawEmail)
		case "gzip", "br":
			w.Header().Set("Content-Encoding", r.PathValue("id"))
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			io.WriteString(z, one)
			z.Close()
			reply(w, "application/json", b.String())
		case "bad":
			reply(w, "application/json", `{"email":"`+rawEmail+`"`)
		case "utf8":
			reply(w, "application/json", "{\"x\":\"\xff\",\"email\":\""+rawEmail+"\"}")
		case "dies":
			w.Header().Set("Content-Length", "100000")
			reply(w, "application/json", `{"list":[`+strings.Repeat("1,", 20000)+`{"email":"`+rawEmail)
		case "moved":
			w.Header().Set("Location", "/v1/customers/7?email="+rawEmail)
			w.WriteHeader(http.StatusFound)
		case "hints":
			w.Header().Set("Link", "<"+rawEmail+">")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Del("Link")
			reply(w, "application/json", one)
		case "trailer":
			w.Header().Set("Trailer", "X-Late")
			reply(w, "application/json", one)
			w.Header().Set("X-Late", rawEmail)
		default:
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, `{"detail":"no such customer","email":"`+rawEmail+`"}`)
		}
	})
	mux.HandleFunc("POST /v1/customers", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "/v1/customers/8?q="+rawEmail)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, one)
	})
	mux.HandleFunc("POST /v1/notes", func(w http.ResponseWriter, r *http.Request) { reply(w, "application/json", `{"ok":true}`) })
	mux.HandleFunc("GET /v1/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for range 3 {
			fmt.Fprintf(w, ": %s\nevent: customer\ndata: %s\n\n", rawEmail, one)
			w.(http.Flusher).Flush()
		}
		if r.URL.Query().Get("forever") != "" {
			<-r.Context().Done()
		}
	})
	mux.HandleFunc("GET /v1/lines", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		io.WriteString(w, one+"\n"+one+"\n")
	})
	mux.HandleFunc("GET /v1/big", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"email":"`)
		part := strings.Repeat("secret@", 1<<16)
		parts := 600
		if os.Getenv("GATEHOUSE_TEST_ALL") != "" {
			parts = 2400 // more than 1 GB
		}
		for range parts {
			io.WriteString(w, part)
		}
		io.WriteString(w, `"}`)
	})
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if c.mu.Lock(); r.Method != http.MethodOptions { // the gateway looks whether the API is there
			c.seen, c.body = append(c.seen, r.Clone(t.Context())), append(c.body, string(b))
		}
		c.mu.Unlock()
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(c.Close)
	return c
}

// last is the last request that the API got.
func (c *crm) last() (*http.Request, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.seen) == 0 {
		return nil, ""
	}
	return c.seen[len(c.seen)-1], c.body[len(c.body)-1]
}

func (c *crm) count() int { c.mu.Lock(); defer c.mu.Unlock(); return len(c.seen) }

const crmPolicies = `
@id("read") permit (principal, action in Action::"readonly", resource);
@id("write") @approval("dba") permit (principal, action in Action::"write", resource);
@id("dba-approves") permit (principal is User in Group::"dba", action in [Action::"approve", Action::"review"], resource);
`

// crmConfig adds the connection to a configuration.
func crmConfig(url string) func(string) string {
	return func(text string) string {
		return text + `  - name: crm
    kind: http
    url: ` + url + `/v1
    credential: {bearer: {file: api.secret}}
    groups: [ai-agents]
    hosts: [crm.example.com]
    headers: [X-Tenant]
    labels: {$..email: pii.email, $..phone: pii.phone}
    paths:
      - {path: /customers, methods: [GET, POST], query: [page], reveal: {email: $..email}}
      - {path: "/customers/{id}", labels: {$.phone: pii.phone}}
      - {path: /events, query: [forever]}
      - {path: /lines}
      - {path: /big}
`
	}
}

func startHTTP(t testing.TB, url string, more ...func(*options)) *gateway {
	t.Helper()
	o := options{policies: crmPolicies, change: func(s string) string {
		return strings.Replace(crmConfig(url)(s), "api.secret", apiSecretFile(t), 1)
	}}
	for _, m := range more {
		m(&o)
	}
	return start(t, o)
}

func apiSecretFile(t testing.TB) string {
	path := t.TempDir() + "/api.secret"
	if err := os.WriteFile(path, []byte(apiSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// curl asks the gateway; the token goes in by standard input, as a configuration.
func (g *gateway) curl(args ...string) result {
	g.t.Helper()
	return g.curlAs(g.token(), args...)
}

func (g *gateway) curlAs(token string, args ...string) result {
	g.t.Helper()
	return g.curlWithin(within(g.t), token, args...)
}

func (g *gateway) curlWithin(ctx context.Context, token string, args ...string) result {
	g.t.Helper()
	config, args := g.curlCommand(token, args)
	r := g.command(ctx, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + g.dir}, config, args...)
	fmt.Fprint(g.said, r.out, r.err)
	return r
}

// curlCommand is what asks the gateway, and what it reads.
func (g *gateway) curlCommand(token string, args []string) (config string, command []string) {
	args = append([]string{"curl", "-sS", "-i", "--path-as-is", "--max-time", "110", "--cacert", g.path("tls.crt"), "-K", "-"}, args...)
	for i, a := range args {
		if strings.HasPrefix(a, "/http/") {
			args[i] = "https://" + g.https + a
		}
	}
	if token != "" {
		config = "header = \"Authorization: Bearer " + token + "\"\n"
	}
	return config, args
}

// noEmail fails where a labelled value, or the API's credential, came back.
func noEmail(t testing.TB, what, text string) {
	t.Helper()
	for _, raw := range []string{rawEmail, "lovelace", "7946", apiSecret} {
		if strings.Contains(text, raw) {
			t.Errorf("%s: %q came back in\n%s", what, raw, text)
		}
	}
}

func (r result) has(t testing.TB, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(r.out, w) {
			t.Errorf("%q is not in\n%s%s", w, r.out, r.err)
		}
	}
}

func TestHTTPMasks(t *testing.T) {
	api := startCRM(t)
	g := startHTTP(t, api.URL)
	for path, want := range map[string][]string{
		"/customers/7":           {"HTTP/2 200", `{"id": 7, "name": "Ada", "email": "a***@***.invalid", "phone": "***0958", "note": "é\u00e9"}`, "cache-control: no-store"},
		"/customers":             {"HTTP/2 200", `"email": "a***@***.invalid"`, "</http/crm/customers?email=***&page=***>; rel=\"next\""},
		"/customers?page=2":      {"HTTP/2 200"},
		"/customers/dup":         {`{"email":"a***@***.invalid","email":"a***@***.invalid"}`},
		"/customers/none":        {"HTTP/2 404", `"detail":"no such customer"`, `"email":"a***@***.invalid"`},
		"/customers/gzip":        {"HTTP/2 200", "a***@***.invalid"},
		"/customers/br":          {"HTTP/2 502", "only gzip"},
		"/customers/text":        {"HTTP/2 502", "cannot be masked", `"code":"not_understood"`},
		"/customers/bad":         {"HTTP/2 502", "cut off"},
		"/customers/utf8":        {"HTTP/2 502", "UTF-8"},
		"/customers/moved":       {"HTTP/2 302", "location: /http/crm/customers/7?email=***"},
		"/customers/hints":       {"HTTP/2 200", "a***@***.invalid"},
		"/customers/trailer":     {"HTTP/2 200", "a***@***.invalid"},
		"/customers/dies":        {},
		"/events":                {"HTTP/2 200", "event: customer\ndata: {", "a***@***.invalid"},
		"/lines":                 {"HTTP/2 200", "a***@***.invalid"},
		"/customers?email=x":     {"HTTP/2 403", `"missing":["reveal field crm/customers#$..email"]`, `"code":"policy_denied"`},
		"/customers?sort=email":  {"HTTP/2 400", "not among those"},
		"/other":                 {"HTTP/2 404", "no path template", "request_id"},
		"/customers/7/../../x":   {"HTTP/2 400", "segment of dots"},
		"/customers/%2e%2e/x":    {"HTTP/2 400"},
		"/customers/7%252f":      {"HTTP/2 400"},
		"/customers//7":          {"HTTP/2 400"},
		"/customers/7;x=y":       {"HTTP/2 400"},
		"/customers/7?_method=x": {"HTTP/2 400"},
	} {
		r := g.curl("/http/crm" + path)
		noEmail(t, path, r.out+r.err)
		r.has(t, want...)
		for _, bad := range []string{"etag", "set-cookie", "x-customer", "x-late", "103"} {
			if strings.Contains(strings.ToLower(r.out), bad+":") || strings.Contains(r.out, "HTTP/2 103") {
				t.Errorf("%s: %s came back in\n%s", path, bad, r.out)
			}
		}
	}
	if r := g.curl("/http/crm/customers/dies"); r.code == 0 {
		t.Errorf("an answer that was cut off looks whole:\n%s", r.out)
	}
	r := g.curl("-I", "/http/crm/customers/7")
	r.has(t, "HTTP/2 200")
	noEmail(t, "HEAD", r.out)
	if strings.Contains(strings.ToLower(r.out), "content-length") {
		t.Errorf("HEAD tells the length of what is masked:\n%s", r.out)
	}
	g.curl("--http1.1", "/http/crm/customers/7").has(t, "HTTP/1.1 200", "a***@***.invalid")
	g.curl("--resolve", "crm.example.com:"+g.https[strings.LastIndex(g.https, ":")+1:]+":127.0.0.1", "-k", "https://crm.example.com:"+g.https[strings.LastIndex(g.https, ":")+1:]+"/customers/7").has(t, "a***@***.invalid")
}

func TestHTTPWhatIsForwarded(t *testing.T) {
	api := startCRM(t)
	g := startHTTP(t, api.URL)
	g.curl("-H", "Cookie: a=b", "-H", "X-Forwarded-For: 1.2.3.4", "-H", "X-Forwarded-User: root", "-H", "X-Remote-User: root", "-H", "X-HTTP-Method-Override: DELETE", "-H", "X-Original-URL: /admin",
		"-H", "X-Tenant: acme", "-H", "X-Other: no", "-H", "If-None-Match: x", "-H", "Range: bytes=0-1", "-H", "Accept-Encoding: br", "-H", "Accept: application/json",
		"-H", "Connection: X-Tenant", "--http1.1", "/http/crm/customers/7").has(t, "HTTP/1.1 200")
	r, _ := api.last()
	for name, want := range map[string]string{"Authorization": "Bearer " + apiSecret, "Cookie": "", "X-Forwarded-For": "", "X-Forwarded-User": "", "X-Remote-User": "", "X-Http-Method-Override": "", "X-Original-Url": "",
		"X-Other": "", "If-None-Match": "", "Range": "", "Accept-Encoding": "identity", "Accept": "application/json", "X-Gatehouse-Token": ""} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("the API got %s: %q, want %q", name, got, want)
		}
	}
	if r.Host != strings.TrimPrefix(api.URL, "http://") || r.RequestURI != "/v1/customers/7" {
		t.Errorf("the API got %s%s", r.Host, r.RequestURI)
	}
	// The token in the other header: the client's own Authorization is not forwarded either.
	config := "header = \"X-Gatehouse-Token: " + g.token() + "\"\n"
	out := g.command(within(t), []string{"PATH=" + os.Getenv("PATH")}, config, "curl", "-sS", "-i", "--cacert", g.path("tls.crt"), "-K", "-", "-H", "Authorization: Basic YTpi", "https://"+g.https+"/http/crm/customers/7")
	out.has(t, "HTTP/2 200")
	if r, _ = api.last(); r.Header.Get("Authorization") != "Bearer "+apiSecret || r.Header.Get("X-Gatehouse-Token") != "" {
		t.Error("the client's credential was forwarded")
	}
}

func TestHTTPIdentity(t *testing.T) {
	api := startCRM(t)
	g := startHTTP(t, api.URL)
	g.curlAs("", "/http/crm/customers/7").has(t, "HTTP/2 401", "www-authenticate: Bearer", `"code":"identity_rejected"`)
	g.curlAs("nonsense", "/http/crm/customers/7").has(t, "HTTP/2 401")
	other, err := g.issuer.AgentToken(otherAgent)
	if err != nil {
		t.Fatal(err)
	}
	g.curlAs(other, "/http/crm/customers/7").has(t, "HTTP/2 403", `"code":"policy_denied"`)
	g.curl("/http/nothing/customers/7").has(t, "HTTP/2 404")
	g.curl("-X", "DELETE", "/http/crm/customers/7").has(t, "HTTP/2 405")
	g.curl("-X", "TRACE", "/http/crm/customers/7").has(t, "HTTP/2 405")
	g.curl("--http1.1", "-H", "Connection: Upgrade", "-H", "Upgrade: websocket", "/http/crm/events").has(t, "HTTP/1.1 501", "WebSocket")
	g.curl("-H", "Content-Type: application/json", "-d", `{"query":"{ customer { x: email } }"}`, "/http/crm/customers").has(t, "HTTP/2 501", "GraphQL")
	if n := api.count(); n != 0 {
		t.Errorf("%d refused requests reached the API", n)
	}
}

// heldRequest is the id of the one request that waits.
func (g *gateway) heldRequest() (id string) {
	g.t.Helper()
	eventually(g.t, "a request waits", func() bool {
		var list []struct{ ID, State string }
		if err := json.Unmarshal([]byte(g.ok("ada", nil, "approvals", "list", "-o", "json")), &list); err != nil {
			g.t.Fatal(err)
		}
		for _, one := range list {
			if one.State == "pending" {
				id = one.ID
			}
		}
		return id != ""
	})
	return id
}

func TestHTTPHold(t *testing.T) {
	api := startCRM(t)
	g := startHTTP(t, api.URL)
	ask := func() result {
		return g.curl("-H", "Content-Type: application/json", "-d", `{"name":"Eve"}`, "/http/crm/customers")
	}
	got := make(chan result, 1)
	go func() { got <- ask() }()
	id := g.heldRequest()
	g.ok("ada", []string{"is approved"}, "approvals", "approve", id)
	r := <-got
	r.has(t, "HTTP/2 201", "location: /http/crm/customers/8?q=***", "a***@***.invalid")
	noEmail(t, "a held request", r.out)
	if _, body := api.last(); body != `{"name":"Eve"}` || api.count() != 1 {
		t.Errorf("the API got %q, %d times", body, api.count())
	}
	// The client does not wait: it comes back, and the request runs once.
	config, args := g.curlCommand(g.token(), []string{"-d", `{"name":"Eve 2"}`, "/http/crm/customers"})
	hasty := exec.Command(args[0], args[1:]...)
	hasty.Stdin = strings.NewReader(config)
	if err := hasty.Start(); err != nil {
		t.Fatal(err)
	}
	id = g.heldRequest()
	hasty.Process.Kill()
	hasty.Wait()
	g.ok("ada", []string{"is approved"}, "approvals", "approve", id)
	g.curl("-d", `{"name":"Eve 2"}`, "/http/crm/customers").has(t, "HTTP/2 201")
	if api.count() != 2 {
		t.Errorf("the API got %d requests, want 2", api.count())
	}
	r = g.curl("-d", `{"name":"Eve 2"}`, "/http/crm/customers")
	r.has(t, "HTTP/2 503", `retry-after: 5`, `"approval":"https://`, `"code":"approval_required"`)
	if api.count() != 2 {
		t.Errorf("an approval was used twice")
	}
}

// TestHTTPKill ends sessions from outside: one whose answer goes on, one that waits for an approval, one that does nothing.
func TestHTTPKill(t *testing.T) {
	api := startCRM(t)
	g := startHTTP(t, api.URL, func(o *options) {
		o.policies += `@id("kill") permit (principal in Group::"dba", action in [Action::"kill", Action::"review"], resource);`
	})
	streams, waits, idle := g.token(), g.token(), g.token()
	streaming, waiting := make(chan result, 1), make(chan result, 1)
	go func() { streaming <- g.curlAs(streams, "/http/crm/events?forever=1") }()
	go func() { waiting <- g.curlAs(waits, "-d", `{"name":"Eve"}`, "/http/crm/customers") }()
	g.heldRequest()
	eventually(t, "the API streams", func() bool { return api.count() == 1 })
	g.curlAs(idle, "/http/crm/customers/7").has(t, "HTTP/2 200")
	var live []gate.Live
	eventually(t, "three sessions are open", func() bool {
		return json.Unmarshal([]byte(g.ok("ada", nil, "sessions", "live", "-o", "json")), &live) == nil && len(live) == 3
	})
	for _, l := range live {
		g.ok("ada", []string{l.ID + " is ended"}, "sessions", "kill", l.ID, "--reason", "it is too much")
	}
	if r := <-streaming; r.code == 0 {
		t.Errorf("an answer that was cut off looks whole:\n%s", r.out)
	}
	r := <-waiting
	r.has(t, "HTTP/2 503", "The session was ended by ada: it is too much")
	if n := api.count(); n != 2 {
		t.Errorf("the API got %d requests, want 2", n)
	}
	eventually(t, "none is open", func() bool { return g.ok("ada", nil, "sessions", "live") == "No open sessions.\n" })
	for _, l := range live {
		g.ok("", []string{"killed"}, "sessions", "show", l.ID)
	}
	g.curlAs(idle, "/http/crm/customers/7").has(t, "HTTP/2 200") // in a session of its own
}

func TestHTTPRecording(t *testing.T) {
	api := startCRM(t)
	g := startHTTP(t, api.URL)
	token := g.token()
	g.curlAs(token, "/http/crm/customers/7")
	g.curlAs(token, "/http/crm/customers/7/../x")
	id := sessionID.FindString(g.ok("", []string{"crm"}, "sessions", "list"))
	noEmail(t, "a replay", g.ok("", []string{"connection  crm (http) from 127.0.0.1", "GET /customers/7", "HTTP 200 application/json", "a***@***.invalid", "refuse (not_understood)",
		"GET endpoint crm/customers/{id}", "read field crm/customers/{id}#$..email", "ok: 200 OK", "request 2"}, "sessions", "replay", id))
}

// TestHTTPBig: a value of any size passes, masked, in bounded memory: of more than 1 GB at full length.
func TestHTTPBig(t *testing.T) {
	api := startCRM(t)
	g := startHTTP(t, api.URL)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	r := g.curlWithin(ctx, g.token(), "--max-time", "0", "/http/crm/big")
	r.has(t, "HTTP/2 200", `{"email":"***"}`)
	if most := 300; g.memory() > most {
		t.Errorf("it took %d MiB of memory, more than %d", g.memory(), most)
	}
}

// TestHTTPDocument: operations and labels from an OpenAPI document; the document's own errors stop the gateway.
func TestHTTPDocument(t *testing.T) {
	api := startCRM(t)
	const document = `{openapi: 3.0.3, info: {title: crm, version: "1"}, paths: {/customers: {get: {operationId: listCustomers, parameters: [{name: page, in: query, schema: {type: integer}}, {name: email, in: query, schema: {type: string}}],
  responses: {"200": {description: ok, content: {application/json: {schema: {type: array, items: {type: object, properties: {email: {type: string, x-gatehouse-label: pii.email}, phone: {type: string, x-gatehouse-label: pii.phone}}}}}}}}}}}}`
	file := t.TempDir() + "/openapi.yaml"
	if err := os.WriteFile(file, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	g := startHTTP(t, api.URL, func(o *options) {
		was := o.change
		o.change = func(s string) string {
			s = was(s)
			return s[:strings.Index(s, "    labels: {$..email")] + "    openapi: " + file + "\n"
		}
	})
	token := g.token()
	r := g.curlAs(token, "/http/crm/customers?page=1")
	r.has(t, "HTTP/2 200", `"email": "a***@***.invalid"`, `"phone": "***0958"`)
	noEmail(t, "by a document", r.out)
	g.curlAs(token, "/http/crm/customers?email=x").has(t, "HTTP/2 403", "reveal field crm/customers#$[*]['email']")
	g.curlAs(token, "/http/crm/customers?sort=email").has(t, "HTTP/2 400")
	g.curlAs(token, "/http/crm/customers/7").has(t, "HTTP/2 404")
	g.curlAs(token, "-X", "DELETE", "/http/crm/customers").has(t, "HTTP/2 405")
	g.ok("", []string{"openapi", "GET,HEAD /customers", "curl -H @token.header 'https://" + g.https + "/http/crm/customers'", "$[*]['email']"}[1:], "connections", "show", "crm")
	g.ok("", []string{"GET " + api.URL + "/v1/customers"}, "connections", "grants", "crm")
	if err := os.WriteFile(file, []byte("openapi: 2.0"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.refuses("", []string{"openapi: ", file}, "config", "validate")
}

// TestHTTPConfig: what is wrong in the configuration is named with its line.
func TestHTTPConfig(t *testing.T) {
	g := startHTTP(t, "http://127.0.0.1:1")
	good := g.text("gatehouse.yaml")
	for change, want := range map[[2]string]string{
		{"path: /lines", "path: lines"}:                                            "a path begins with /",
		{"path: /lines", `path: "/customers/{other}"`}:                             "are the same paths",
		{"{path: /lines}", "{path: /lines, methods: [FETCH]}"}:                     `"FETCH"`,
		{"$..email: pii.email,", "'$[?@.a]': pii.email,"}:                          "cannot be followed in a stream",
		{"$..email: pii.email,", "email: pii.email,"}:                              "JSON path",
		{"reveal: {email: $..email}", "reveal: {email: $.x}"}:                      "has no label",
		{"hosts: [crm.example.com]", "hosts: [CRM]"}:                               "small letters",
		{"headers: [X-Tenant]", "headers: [Cookie]"}:                               "is not forwarded",
		{"headers: [X-Tenant]", "content_types: [text/csv]"}:                       "answers in JSON only",
		{"headers: [X-Tenant]", "websocket: true"}:                                 "not built yet",
		{"url: http://127.0.0.1:1/v1", "url: http://a:b@127.0.0.1:1/v1"}:           "not written in url",
		{"url: http://127.0.0.1:1/v1", "url: http://api.internal/v1"}:              "without TLS",
		{"credential: {bearer: {file:", "credential: {bearer: hunter2, x: {file:"}: "",
		{"credential: {bearer:", "credential: {basic: {user: a}, bearer:"}:         "credential.basic",
		{"credential: {bearer:", "credential: {header: {name: Host}, bearer:"}:     "credential.header",
	} {
		text := strings.Replace(good, change[0], change[1], 1)
		if text == good {
			t.Fatalf("%q is not in the configuration", change[0])
		}
		g.write("bad.yaml", text)
		said := g.refuses("", []string{"bad.yaml: line ", want}, "config", "validate", "--config", g.path("bad.yaml"))
		if strings.Contains(said, "hunter2") {
			t.Error("a secret is in an error")
		}
	}
}

// TestHTTPNginx: nginx as the API.
func TestHTTPNginx(t *testing.T) {
	program, err := exec.LookPath("nginx")
	if err != nil {
		if program, err = filepath.Abs("tools/nginx/usr/sbin/nginx"); err == nil {
			_, err = os.Stat(program)
		}
	}
	if err != nil {
		t.Fatal("nginx was found neither on PATH nor in test/tools, and this test needs it: make deps-test")
	}
	dir, addr := t.TempDir(), address(t)
	one := `{"id":7,"email":"` + rawEmail + `"}`
	if err := os.MkdirAll(dir+"/www/v1/customers", 0o755); err != nil {
		t.Fatal(err)
	}
	os.WriteFile(dir+"/www/v1/customers/7", []byte(one), 0o644)
	os.WriteFile(dir+"/www/v1/lines", bytes.Repeat([]byte(one+"\n"), 20000), 0o644)
	os.WriteFile(dir+"/nginx.conf", []byte(fmt.Sprintf(`daemon off; pid %[1]s/pid; error_log stderr; worker_processes 1;
events {}
http { access_log off; client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
  default_type application/json; gzip on; gzip_types *; gzip_min_length 1;
  server { listen %[2]s; root %[1]s/www; location = /v1/lines { default_type application/x-ndjson; } } }`, dir, addr)), 0o644)
	os.Chmod(dir, 0o755)
	cmd := exec.Command(program, "-p", dir, "-c", dir+"/nginx.conf", "-g", "user root;")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Signal(syscall.SIGQUIT); cmd.Wait() })
	for range 100 {
		if r, err := http.Get("http://" + addr + "/v1/customers/7"); err == nil {
			r.Body.Close()
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	g := startHTTP(t, "http://"+addr)
	r := g.curl("/http/crm/customers/7")
	r.has(t, "HTTP/2 200", `{"id":7,"email":"a***@***.invalid"}`)
	noEmail(t, "nginx", r.out)
	r = g.curl("-H", "Range: bytes=0-40", "-H", "Accept-Encoding: gzip", "/http/crm/lines")
	r.has(t, "HTTP/2 200")
	noEmail(t, "nginx", r.out)
	if n := strings.Count(r.out, "a***@***.invalid"); n != 20000 {
		t.Errorf("got %d lines, want 20000\n%.500s%s", n, r.out, said.String())
	}
	r = g.curl("/http/crm/customers/none")
	r.has(t, "HTTP/2 502", "text/html")
}
