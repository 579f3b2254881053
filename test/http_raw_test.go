package test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write what happened into the golden files; look at the difference")

// TestHTTPRaw sends raw bytes: what a server could read in two ways is read in one, or refused; nothing that was not
// decided reaches the API.
func TestHTTPRaw(t *testing.T) {
	const file = "testdata/http-raw.txt"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	api := startCRM(t)
	g := startHTTP(t, api.URL, func(o *options) {
		was := o.change
		o.change = func(s string) string { return was(s) + "      - {path: /notes, methods: [POST]}\n" }
		o.policies = `@id("all") permit (principal, action in [Action::"readonly", Action::"write"], resource);`
	})
	token := g.token()
	var out []string
	var name, sent string
	cases := 0
	for line := range strings.SplitSeq(string(text), "\n") {
		switch {
		case strings.HasPrefix(line, "case "):
			name, sent = line[5:], ""
			cases++
		case strings.HasPrefix(line, ">"):
			raw := strings.HasPrefix(line, ">>")
			s, err := strconv.Unquote(`"` + strings.ReplaceAll(strings.TrimPrefix(strings.TrimLeft(line, ">"), " "), `"`, `\"`) + `"`)
			if err != nil {
				t.Fatalf("%s: %q: %v", name, line, err)
			}
			if sent += s; !raw {
				sent += "\r\n"
			}
		case strings.HasPrefix(line, "="):
			got := "= " + g.raw(api, strings.ReplaceAll(sent, "TOKEN", token))
			if got != line && !*update {
				t.Errorf("%s\n got %s\nwant %s", name, got, line)
			}
			line = got
		}
		out = append(out, line)
	}
	if cases < 60 {
		t.Errorf("there are %d cases", cases)
	}
	if *update {
		if err := os.WriteFile(file, []byte(strings.Join(out, "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// raw sends bytes over TLS, and says what came back and what the API got.
func (g *gateway) raw(api *crm, sent string) string {
	g.t.Helper()
	before := api.count()
	conn, err := tls.Dial("tcp", g.https, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err != nil {
		g.t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, sent); err != nil {
		g.t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	var statuses []string
	end := "open"
	method, _, _ := strings.Cut(strings.TrimSpace(sent), " ")
	for {
		answer, err := http.ReadResponse(r, &http.Request{Method: strings.ToUpper(method)})
		var late net.Error
		if err != nil {
			if !(errors.As(err, &late) && late.Timeout()) {
				end = "closed"
			}
			break
		}
		body, _ := io.ReadAll(answer.Body)
		noEmail(g.t, sent, string(body))
		if statuses = append(statuses, fmt.Sprint(answer.StatusCode)); answer.StatusCode >= 200 {
			conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		}
	}
	api.mu.Lock()
	defer api.mu.Unlock()
	got := "nothing"
	for i, one := range api.seen[before:] {
		if i == 0 {
			got = ""
		} else {
			got += ", "
		}
		got += one.Method + " " + one.RequestURI
		if b := api.body[before+i]; b != "" {
			got += " " + strconv.Quote(b)
		}
		if v := one.Header.Get("X-Tenant"); v != "" {
			got += " X-Tenant " + strconv.Quote(v)
		}
	}
	return fmt.Sprintf("%s %s; the API got %s", strings.Join(statuses, " "), end, got)
}
