package demo

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// apiPolicies permit what the starter set says nothing of: HTTP APIs.
const apiPolicies = `// Agents may read what the shop's API has. Labelled fields come back masked, as columns do; what changes anything waits
// for an approval, as the starter set says of every write.
@id("read-apis")
permit (principal, action in [Action::"GET", Action::"HEAD"], resource);
`

// customer is one of the API.
type customer struct {
	ID    int    `json:"id"`
	Name  string `json:"name"`
	Email string `json:"email"`
	Phone string `json:"phone"`
	City  string `json:"city"`
}

// customers are made up.
var customers = []customer{
	{1, "Mary Shelley", "mary.shelley@shop.example", "+44 20 7946 0101", "London"},
	{2, "Jules Verne", "jules.verne@shop.example", "+33 1 5550 0202", "Amiens"},
	{3, "Selma Lagerlöf", "selma.lagerlof@shop.example", "+46 8 5550 0303", "Falun"},
}

// api is the shop's HTTP API, which wants a credential of its own: the gateway's.
type api struct {
	server *http.Server
	url    string
}

// startAPI starts it on loopback, and writes the credential.
func (d *demo) startAPI() (*api, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	secret := rand.Text()
	if err := os.WriteFile(d.path("api.secret"), []byte(secret+"\n"), 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	mux := http.NewServeMux()
	reply := func(w http.ResponseWriter, status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("GET /customers", func(w http.ResponseWriter, r *http.Request) { reply(w, http.StatusOK, customers) })
	mux.HandleFunc("GET /customers/{id}", func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.Atoi(r.PathValue("id"))
		if err != nil || id < 1 || id > len(customers) {
			reply(w, http.StatusNotFound, map[string]string{"error": "no such customer"})
			return
		}
		reply(w, http.StatusOK, customers[id-1])
	})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+secret)) != 1 {
			reply(w, http.StatusUnauthorized, map[string]string{"error": "only the gateway may ask"})
			return
		}
		mux.ServeHTTP(w, r)
	})
	a := &api{server: &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}, url: "http://" + l.Addr().String()}
	go a.server.Serve(l)
	for _, c := range customers {
		d.raw = append(d.raw, strings.ToLower(c.Email), c.Phone)
	}
	d.say("  an HTTP API of the shop on %s, which takes the gateway's credential only", a.url)
	return a, nil
}

// config is the API as a connection.
func (a *api) config(secret string) string {
	return "  - name: shop-api\n    kind: http\n    tags: [env:demo]\n    url: " + a.url + "\n    credential: {bearer: {file: " + strconv.Quote(secret) + "}}\n    groups: [ai-agents]\n" +
		"    labels: {$..email: pii.email, $..phone: pii.phone}\n    paths:\n      - {path: /customers, reveal: {email: $..email}}\n      - {path: \"/customers/{id}\"}\n"
}
