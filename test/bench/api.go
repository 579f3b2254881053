package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/internal/demo/issuer"
)

// caddyModule is the reverse proxy that the HTTP measurements compare with, besides Go's own.
const caddyModule = "github.com/caddyserver/caddy/v2/cmd/caddy@v2.11.1"

// apiPerson is an object of the API's answers, of about 100 bytes.
type apiPerson struct {
	ID    int    `json:"id"`
	Name  string `json:"name"`
	Email string `json:"email"`
	City  string `json:"city"`
}

func apiAnswer(size int) []byte {
	var out []apiPerson
	for n := 0; ; n++ {
		out = append(out, apiPerson{n, "Ada Lovelace", fmt.Sprintf("ada.lovelace%04d@example.com", n), "London"})
		if b, _ := json.Marshal(out); len(b) >= size {
			return b
		}
	}
}

// serveAPI is the API of the HTTP measurements: answers of about 1 KiB and of 100 KiB. It ends with the process.
func serveAPI(address string) error {
	mux := http.NewServeMux()
	for path, size := range map[string]int{"/small": 1 << 10, "/large": 100 << 10} {
		answer := apiAnswer(size)
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Write(answer)
		})
	}
	return (&http.Server{Addr: address, Handler: mux}).ListenAndServe()
}

// relayAPI is Go's own reverse proxy before it, with TLS.
func relayAPI(address, upstream, cert, key string) error {
	to, err := url.Parse("http://" + upstream)
	if err != nil {
		return err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }, Transport: transport}
	return (&http.Server{Addr: address, Handler: proxy}).ListenAndServeTLS(cert, key)
}

// apis measures requests to an HTTP API through Go's reverse proxy, through Caddy, and through the gateway, in turn: all with
// TLS and connections that stay.
func apis(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	own, err := os.Executable()
	if err != nil {
		return err
	}
	var ports [4]int
	for i := range ports {
		if ports[i], err = freePort(); err != nil {
			return err
		}
	}
	at := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	is, err := issuer.Start("127.0.0.1:0", issuer.Options{Tenant: "bench", Audience: "bench", Lifetime: time.Hour, Agents: []issuer.Agent{{ClientID: "bench", Secret: rand.Text(), Name: "bench", Groups: []string{"bench"}}}})
	if err != nil {
		return err
	}
	defer is.Close()
	fmt.Println("building Caddy, for comparison")
	build := exec.CommandContext(ctx, "go", "install", caddyModule)
	build.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build Caddy: %w\n%s", err, out)
	}
	config := fmt.Sprintf(`listen: {https: "%s"}
issuers: [{name: bench, kind: entra, issuer: "%s", audiences: [bench], groups: {names: {bench: bench}}}]
store: sqlite:gatehouse.db
recordings: file:recordings
policies: [bench.cedar]
connections:
  - {name: plain, kind: http, url: "http://%s", groups: [bench], paths: [{path: /small}, {path: /large}]}
  - {name: masked, kind: http, url: "http://%s", groups: [bench], paths: [{path: /small}, {path: /large}], labels: {$..email: pii.email}}
`, at(0), is.URL(), at(1), at(1))
	cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for name, text := range map[string]string{
		"gatehouse.yaml": config,
		"bench.cedar":    `@id("get") permit (principal, action in [Action::"readonly", Action::"read"], resource);`,
		"Caddyfile": fmt.Sprintf("{\n\tadmin off\n\tauto_https off\n}\nhttps://127.0.0.1:%d {\n\ttls %s %s\n\treverse_proxy http://%s {\n\t\ttransport http {\n\t\t\tkeepalive_idle_conns_per_host 64\n\t\t}\n\t}\n}\n",
			ports[2], cert, key, at(1)),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	pid, stop, err := serve(dir, "https") // it makes the certificate that all of them use
	if err != nil {
		return err
	}
	defer stop()
	for _, args := range [][]string{{own, "api", at(1)}, {own, "api", at(3), at(1), cert, key}, {filepath.Join(dir, "caddy"), "run", "--config", filepath.Join(dir, "Caddyfile")}} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "HOME="+dir)
		if err := cmd.Start(); err != nil {
			return err
		}
		defer func() { cmd.Process.Kill(); cmd.Wait() }()
	}
	for i := range ports {
		if err := listens(at(i)); err != nil {
			return err
		}
	}
	token, err := is.AgentToken("bench")
	if err != nil {
		return err
	}
	fmt.Printf("\n%-28s %9s %9s %9s %9s %9s %9s %9s %12s\n", "HTTP/1.1, TLS, 16 clients", "Go/s", "Caddy/s", "plain/s", "masked/s", "of Go", "masked", "of Caddy", "gateway CPU")
	for _, path := range []string{"/small", "/large"} {
		ways := []apiWay{
			{url: "https://" + at(3) + path}, {url: "https://" + at(2) + path},
			{url: "https://" + at(0) + "/http/plain" + path, token: token}, {url: "https://" + at(0) + "/http/masked" + path, token: token, masked: true},
		}
		if err := apiCase(ctx, strings.TrimPrefix(path, "/"), ways, pid); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// listens waits until somebody answers at an address.
func listens(address string) error {
	for range 200 {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			return c.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("nobody listens at %s", address)
}

// apiWay is one of the ways to the API.
type apiWay struct {
	url, token string
	masked     bool
}

const (
	apiTime    = 2 * time.Second // of one run of a case
	apiClients = 16
)

// apiCase measures one answer on every way; the last is the gateway's, with masks.
func apiCase(ctx context.Context, name string, ways []apiWay, pid int) error {
	rates := make([][]float64, len(ways))
	last := len(ways) - 1
	var cpu time.Duration
	calls := 0
	for round := range 6 { // the first is warm-up
		for i := range ways {
			before := cpuOf(pid)
			n, err := apiLoad(ctx, ways[i])
			if err != nil {
				return fmt.Errorf("%s: %w", ways[i].url, err)
			}
			if round == 0 {
				continue
			}
			rates[i] = append(rates[i], float64(n)/apiTime.Seconds())
			if i == last {
				cpu, calls = cpu+cpuOf(pid)-before, calls+n
			}
		}
	}
	for i := range rates {
		slices.Sort(rates[i])
	}
	rate := func(i int) float64 { return rates[i][len(rates[i])/2] }
	fmt.Printf("%-28s %9.0f %9.0f %9.0f %9.0f %9.2f %9.2f %9.2f %12s\n", name, rate(0), rate(1), rate(2), rate(3), rate(2)/rate(0), rate(3)/rate(0), rate(3)/rate(1), micro(cpu/time.Duration(calls)))
	return nil
}

// apiLoad sends requests for a while, on connections that stay, and looks at each answer.
func apiLoad(ctx context.Context, way apiWay) (int, error) {
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxIdleConnsPerHost: apiClients, MaxConnsPerHost: apiClients, DisableCompression: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var all sync.WaitGroup
	var failed atomic.Pointer[error]
	var count atomic.Int64
	end := time.Now().Add(apiTime)
	for range apiClients {
		all.Go(func() {
			var body bytes.Buffer
			for failed.Load() == nil && time.Now().Before(end) {
				if err := apiOne(ctx, client, way, &body); err != nil {
					failed.Store(&err)
				}
				count.Add(1)
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return int(count.Load()), nil
}

func apiOne(ctx context.Context, client *http.Client, way apiWay, body *bytes.Buffer) error {
	r, err := http.NewRequestWithContext(ctx, "GET", way.url, nil)
	if err != nil {
		return err
	}
	if way.token != "" {
		r.Header.Set("Authorization", "Bearer "+way.token)
	}
	a, err := client.Do(r)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	body.Reset()
	if _, err := io.Copy(body, a.Body); err != nil {
		return err
	}
	if a.StatusCode != http.StatusOK || bytes.Contains(body.Bytes(), []byte("ada.lovelace0001@")) == way.masked {
		return fmt.Errorf("%s, %.200s", a.Status, body)
	}
	return nil
}
