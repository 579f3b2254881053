package identity

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Config is what a Verifier is made of.
type Config struct {
	Issuers []Issuer
	People  People
	// Now is the clock; time.Now by default.
	Now func() time.Time
	// HTTP fetches keys; a client with timeouts by default.
	HTTP *http.Client
}

// Issuer is one issuer of tokens that is trusted.
type Issuer struct {
	// Name is short; it prefixes the ids of the issuer's principals and groups.
	Name string `yaml:"name"`
	// Kind is entra or oidc.
	Kind string `yaml:"kind"`
	// Issuer is the exact `iss`, under which the discovery document is found.
	Issuer string `yaml:"issuer"`
	// Audiences are the `aud` values that tokens for this gateway have; one must match.
	Audiences []string `yaml:"audiences"`
	// Algorithms that signatures may have; RS256, PS256, ES256 and their like by default.
	Algorithms []string `yaml:"algorithms"`
	// Scopes and Roles: where any are given, a token must carry one of them.
	Scopes []string `yaml:"scopes"`
	Roles  []string `yaml:"roles"`
	Groups Groups   `yaml:"groups"`
	// Agents are groups of clients, by client id: an agent that acts for a user has these and no other.
	Agents map[string][]string `yaml:"agents"`
	// People are the clients that people sign in with at this issuer; nil: those of People.Clients.
	People []string `yaml:"people"`
	// Principal is what an oidc token's subject is: agent, user, or auto (an agent where the subject is
	// the client itself). Auto by default.
	Principal string `yaml:"principal"`
	Claims    Claims `yaml:"claims"`
}

// Configuration is the URL of the issuer's discovery document (OpenID Connect Discovery 1.0, section 4).
func (is *Issuer) Configuration() string {
	return strings.TrimSuffix(is.Issuer, "/") + "/.well-known/openid-configuration"
}

// Ask is the scope to ask the issuer for, so that a token is meant for this gateway; empty where nothing has to
// be asked for. Entra's scopes are asked for with the API's URI before them, which their tokens leave out.
func (is *Issuer) Ask() string {
	if is.Kind != "entra" {
		return strings.Join(is.Scopes, " ")
	}
	audience := is.Audiences[0]
	for _, a := range is.Audiences {
		if strings.Contains(a, "://") {
			audience = a
			break
		}
	}
	if len(is.Scopes) == 0 {
		return audience + "/.default"
	}
	var out []string
	for _, s := range is.Scopes {
		out = append(out, audience+"/"+s)
	}
	return strings.Join(out, " ")
}

// Gives says whether the issuer's tokens can put a person into a group: by a short name, or by its own id.
func (is *Issuer) Gives(group string) bool {
	for _, short := range is.Groups.Names {
		if short == group {
			return true
		}
	}
	id, own := strings.CutPrefix(group, is.Name+":")
	return own && (strings.HasPrefix(id, "group:") || strings.HasPrefix(id, "role:"))
}

// Groups map what a token says to short names.
type Groups struct {
	// Names are short names by group id, or by "role:NAME" for roles.
	Names map[string]string `yaml:"names"`
	Graph any               `yaml:"graph" planned:"true"`
}

// Claims are the names of an oidc issuer's claims.
type Claims struct {
	Subject string `yaml:"subject"` // sub by default
	Client  string `yaml:"client"`  // azp, else client_id, by default
	Groups  string `yaml:"groups"`  // groups by default
	Name    string `yaml:"name"`    // preferred_username, else name, by default
}

// People says with which clients people act themselves.
type People struct {
	// Clients are the ids of the OIDC clients that people sign in with (the CLI, the UI), at issuers that list none themselves.
	Clients []string `yaml:"clients"`
	// Scope, where given, must be in a token that is used for people's actions.
	Scope string `yaml:"scope"`
	// Same are lists of ids ("entra:OID@TID", "okta:SUB") that are one person's: nobody answers a request of their own
	// by another of their ids, and answers once.
	Same [][]string `yaml:"same"`
}

// person is the first of the ids that are one person's; "" for one that has no other.
func (p People) person(id string) string {
	for _, ids := range p.Same {
		if slices.Contains(ids, id) {
			return ids[0]
		}
	}
	return ""
}

// Check says what is wrong with Same; issuers are the names of those that are configured.
func (p People) Check(issuers map[string]bool) error {
	before := map[string]bool{}
	for i, ids := range p.Same {
		if len(ids) < 2 {
			return fmt.Errorf("people.same[%d]: it takes two ids at least to be the same person's", i)
		}
		for _, id := range ids {
			issuer, subject, ok := strings.Cut(id, ":")
			switch {
			case !ok || subject == "" || !issuers[issuer]:
				return fmt.Errorf("people.same[%d]: %q should be the name of one of the issuers, a colon and who it is there, as recordings show it", i, id)
			case before[id]:
				return fmt.Errorf("people.same[%d]: %q is listed twice", i, id)
			}
			before[id] = true
		}
	}
	return nil
}

// signsIn says whether people sign in with a client at the issuer.
func (is *Issuer) signsIn(people People, client string) bool {
	if is.People != nil {
		return slices.Contains(is.People, client)
	}
	return slices.Contains(people.Clients, client)
}

// algorithms are those that may be configured: asymmetric ones (RFC 7518, section 3.1; RFC 8037).
var algorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

func (c *Config) check() error {
	if len(c.Issuers) == 0 {
		return errors.New("issuers: at least one is needed")
	}
	names, urls := map[string]bool{}, map[string]bool{}
	for i := range c.Issuers {
		is := &c.Issuers[i]
		if err := is.Check(); err != nil {
			return fmt.Errorf("issuers[%d] (%s): %w", i, is.Name, err)
		}
		if names[is.Name] || urls[is.Issuer] {
			return fmt.Errorf("issuers[%d] (%s): its name or its issuer is given twice", i, is.Name)
		}
		names[is.Name], urls[is.Issuer] = true, true
	}
	return c.People.Check(names)
}

// Check says what is wrong with the issuer's configuration; it asks nobody.
func (is *Issuer) Check() error {
	if is.Name == "" || strings.ContainsAny(is.Name, ": \t/") {
		return errors.New("name should be a short word")
	}
	if is.Kind != "entra" && is.Kind != "oidc" {
		return fmt.Errorf("kind %q should be entra or oidc", is.Kind)
	}
	u, err := url.Parse(is.Issuer)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("issuer %q should be an https URL", is.Issuer)
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return fmt.Errorf("issuer %q: plain http is accepted on loopback only", is.Issuer)
	}
	if len(is.Audiences) == 0 || slices.Contains(is.Audiences, "") {
		return errors.New("audiences should name the tokens that are meant for this gateway")
	}
	for _, a := range is.Algorithms {
		if !slices.Contains(algorithms, a) {
			return fmt.Errorf("algorithm %q is not one of %s", a, strings.Join(algorithms, ", "))
		}
	}
	for id, short := range is.Groups.Names {
		if short == "" || strings.Contains(short, ":") {
			return fmt.Errorf("groups.names: the short name of %s should be a word without a colon", id)
		}
	}
	for client, groups := range is.Agents {
		for _, g := range groups {
			if g == "" || strings.Contains(g, ":") {
				return fmt.Errorf("agents: the groups of %s should be words without a colon", client)
			}
		}
	}
	if !slices.Contains([]string{"", "auto", "agent", "user"}, is.Principal) {
		return fmt.Errorf("principal %q should be auto, agent or user", is.Principal)
	}
	if is.Kind == "entra" && (is.Principal != "" || is.Claims != Claims{}) {
		return errors.New("principal and claims are for kind oidc")
	}
	if is.Kind == "entra" && is.tenant() == "" {
		return fmt.Errorf("issuer %q should be https://login.microsoftonline.com/TENANT/v2.0", is.Issuer)
	}
	return nil
}

// tenant is the tenant id in an Entra issuer's URL.
func (is *Issuer) tenant() string {
	u, err := url.Parse(is.Issuer)
	if err != nil {
		return ""
	}
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	if len(parts) != 2 || parts[1] != "v2.0" || parts[0] == "common" || parts[0] == "organizations" || parts[0] == "consumers" {
		return ""
	}
	return parts[0]
}

// accepts says whether `iss` is this issuer's. Entra issues v1.0 tokens under another name of the tenant.
func (is *Issuer) accepts(iss string) bool {
	if iss == is.Issuer {
		return true
	}
	u, err := url.Parse(is.Issuer)
	return err == nil && is.Kind == "entra" && u.Host == "login.microsoftonline.com" && iss == "https://sts.windows.net/"+is.tenant()+"/"
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
