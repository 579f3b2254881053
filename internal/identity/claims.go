package identity

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/policy"
)

// claims are a token's payload. Reading one of a wrong type is an error that names the claim.
type claims map[string]json.RawMessage

func malformed(claim string) *Error {
	return &Error{Reason: fmt.Sprintf("The token's claim %q is not what it should be.", claim), Remedy: "Get a token from the configured issuer."}
}

func (c claims) text(name string) (string, error) {
	raw, ok := c[name]
	if !ok || string(raw) == "null" {
		return "", nil
	}
	var s string
	if json.Unmarshal(raw, &s) != nil || len(s) > 1024 {
		return "", malformed(name)
	}
	return s, nil
}

// texts reads a list of strings; one string counts as a list of one.
func (c claims) texts(name string) ([]string, error) {
	raw, ok := c[name]
	if !ok || string(raw) == "null" {
		return nil, nil
	}
	var list []string
	if json.Unmarshal(raw, &list) == nil {
		return list, nil
	}
	one, err := c.text(name)
	if err != nil {
		return nil, err
	}
	return []string{one}, nil
}

// moment reads a NumericDate (RFC 7519, section 2).
func (c claims) moment(name string) (time.Time, bool, error) {
	raw, ok := c[name]
	if !ok || string(raw) == "null" {
		return time.Time{}, false, nil
	}
	var f float64
	if json.Unmarshal(raw, &f) != nil || f < 0 || f > 1e11 {
		return time.Time{}, false, malformed(name)
	}
	return time.Unix(int64(f), 0), true, nil
}

func (c claims) has(name string) bool {
	raw, ok := c[name]
	return ok && string(raw) != "null"
}

// first is the first of the claims that is there.
func (c claims) first(names ...string) (string, error) {
	for _, n := range names {
		if n == "" {
			continue
		}
		if s, err := c.text(n); s != "" || err != nil {
			return s, err
		}
	}
	return "", nil
}

// who is what a token's claims say, before its use is known.
type who struct {
	principal policy.Principal
	scopes    []string
	roles     []string
}

// leeway is how far clocks may differ, at the door.
const leeway = 60 * time.Second

// standard looks at the claims that every token has: audience and times.
func (is *Issuer) standard(c claims, now time.Time) (time.Time, error) {
	audiences, err := c.texts("aud")
	if err != nil {
		return time.Time{}, err
	}
	if !slices.ContainsFunc(audiences, func(a string) bool { return slices.Contains(is.Audiences, a) }) {
		return time.Time{}, &Error{Reason: "The token is meant for another audience.", Remedy: "Ask the issuer for a token for this gateway: " + strings.Join(is.Audiences, " or ") + "."}
	}
	expires, ok, err := c.moment("exp")
	if err != nil {
		return time.Time{}, err
	}
	if !ok {
		return time.Time{}, &Error{Reason: "The token has no expiry.", Remedy: "Use short-lived tokens; a token without `exp` is not accepted."}
	}
	if now.After(expires.Add(leeway)) {
		return time.Time{}, &Error{Reason: fmt.Sprintf("The token expired %s ago.", now.Sub(expires).Round(time.Second)), Remedy: "Get a fresh one with `gatehouse token`, or `gatehouse login`, and connect again."}
	}
	if from, ok, err := c.moment("nbf"); err != nil {
		return time.Time{}, err
	} else if ok && now.Add(leeway).Before(from) {
		return time.Time{}, &Error{Reason: "The token is not valid yet.", Remedy: "Look at the clocks of the issuer and of this gateway's machine."}
	}
	if c.has("cnf") {
		return time.Time{}, &Error{Reason: "The token is bound to a key (cnf) that was not proved.", Remedy: "Ask the issuer for a bearer token that is not bound to a key."}
	}
	return expires, nil
}

// permitted says whether the token carries one of the configured scopes or roles.
func (is *Issuer) permitted(w who) error {
	if len(is.Scopes) == 0 && len(is.Roles) == 0 {
		return nil
	}
	has := func(want, got []string) bool {
		return slices.ContainsFunc(want, func(s string) bool { return slices.Contains(got, s) })
	}
	if has(is.Scopes, w.scopes) || has(is.Roles, w.roles) {
		return nil
	}
	return &Error{Reason: "The token carries none of the scopes or roles that this gateway asks for.", Remedy: "Ask the issuer for one of: " + strings.Join(append(slices.Clone(is.Scopes), is.Roles...), ", ") + "."}
}

func (is *Issuer) read(c claims, people People) (who, error) {
	if is.Kind == "entra" {
		return is.entra(c, people)
	}
	return is.oidc(c, people)
}

// entra reads the claims of a Microsoft Entra access token (Microsoft identity platform, access token
// claims reference).
func (is *Issuer) entra(c claims, people People) (who, error) {
	var w who
	get := func(name string, into *string) error {
		var err error
		*into, err = c.text(name)
		return err
	}
	var tid, oid, sub, idtyp, scp, version string
	for name, into := range map[string]*string{"tid": &tid, "oid": &oid, "sub": &sub, "idtyp": &idtyp, "scp": &scp, "ver": &version} {
		if err := get(name, into); err != nil {
			return w, err
		}
	}
	client, err := c.first("azp", "appid")
	if err != nil {
		return w, err
	}
	roles, err := c.texts("roles")
	if err != nil {
		return w, err
	}
	w.scopes, w.roles = strings.Fields(scp), roles
	switch {
	case tid != is.tenant():
		return w, &Error{Reason: "The token is of another tenant.", Remedy: "Sign in to the tenant that this gateway trusts."}
	case oid == "" || sub == "":
		return w, malformed("oid")
	case version != "1.0" && version != "2.0":
		return w, malformed("ver")
	case client == "" || c.has("nonce") || c.has("at_hash") || c.has("c_hash"):
		return w, &Error{Reason: "That is an ID token, not an access token.", Remedy: "Ask the issuer for an access token for this gateway."}
	}
	if c.has("hasgroups") || c.has("_claim_names") {
		return w, &Error{Reason: "The token leaves out groups, because there are too many, and looking them up with Microsoft Graph is not built yet.", Remedy: "Use app roles, or have Entra put only the groups assigned to the application into tokens."}
	}
	ids, err := c.texts("groups")
	if err != nil {
		return w, err
	}
	var groups []string
	for _, id := range ids {
		groups = append(groups, is.group(id, "group:"+id))
	}
	for _, r := range roles {
		groups = append(groups, is.group("role:"+r, "role:"+r))
	}
	name, err := c.first("preferred_username", "upn", "name", "app_displayname")
	if err != nil {
		return w, err
	}
	id := is.Name + ":" + oid + "@" + tid
	personal := scp != "" || c.has("upn") || c.has("preferred_username") || c.has("unique_name") || c.has("given_name") || c.has("family_name")
	switch {
	case idtyp == "app" || idtyp == "" && !personal && oid == sub:
		if personal {
			return w, malformed("idtyp")
		}
		w.principal = policy.Principal{Kind: policy.Agent, ID: id, Name: name, Issuer: is.Name, Client: client, Groups: groups}
		if w.principal.Name == "" {
			w.principal.Name = client
		}
		return w, nil
	case scp == "" || idtyp != "" && idtyp != "user":
		return w, &Error{Reason: "The token neither proves that an application acts for itself, nor that it acts for a user.", Remedy: "Let Entra put the optional claim idtyp into access tokens, or ask for a delegated scope."}
	}
	user := policy.Principal{Kind: policy.User, ID: id, Name: name, Issuer: is.Name, Client: client, Groups: groups}
	w.principal = is.delegated(user, client, tid, people)
	return w, nil
}

// delegated is the user herself where she acts with a client for people, else the client as an agent on
// her behalf.
func (is *Issuer) delegated(user policy.Principal, client, tenant string, people People) policy.Principal {
	if is.signsIn(people, client) {
		return user
	}
	id := is.Name + ":" + client
	if tenant != "" {
		id += "@" + tenant
	}
	return policy.Principal{Kind: policy.Agent, ID: id, Name: client, Issuer: is.Name, Client: client, Groups: is.Agents[client], OnBehalfOf: &user}
}

// group is the short name of a group or role, or its name with the issuer's before it.
func (is *Issuer) group(id, full string) string {
	own := !strings.HasPrefix(id, "role:") || id == full // a group that is called like a role is none
	if short := is.Groups.Names[id]; short != "" && own {
		return short
	}
	return is.Name + ":" + full
}

// oidc reads the claims of any other issuer (RFC 9068 where it follows that; RFC 8693 for act).
func (is *Issuer) oidc(c claims, people People) (who, error) {
	var w who
	pick := func(configured string, otherwise ...string) (string, error) {
		if configured != "" {
			return c.text(configured)
		}
		return c.first(otherwise...)
	}
	subject, err := pick(is.Claims.Subject, "sub")
	if err != nil {
		return w, err
	}
	client, err := pick(is.Claims.Client, "azp", "client_id")
	if err != nil {
		return w, err
	}
	name, err := pick(is.Claims.Name, "preferred_username", "name")
	if err != nil {
		return w, err
	}
	scope, err := c.first("scope", "scp")
	if err != nil {
		return w, err
	}
	if w.roles, err = c.texts("roles"); err != nil {
		return w, err
	}
	groupClaim := is.Claims.Groups
	if groupClaim == "" {
		groupClaim = "groups"
	}
	ids, err := c.texts(groupClaim)
	if err != nil {
		return w, err
	}
	w.scopes = strings.Fields(scope)
	if subject == "" {
		return w, malformed("sub")
	}
	if c.has("nonce") || c.has("at_hash") || c.has("c_hash") {
		return w, &Error{Reason: "That is an ID token, not an access token.", Remedy: "Ask the issuer for an access token for this gateway."}
	}
	var groups []string
	for _, id := range ids {
		groups = append(groups, is.group(id, "group:"+id))
	}
	for _, r := range w.roles {
		groups = append(groups, is.group("role:"+r, "role:"+r))
	}
	p := policy.Principal{Kind: policy.User, ID: is.Name + ":" + subject, Name: name, Issuer: is.Name, Client: client, Groups: groups}
	if is.Principal == "agent" || is.Principal != "user" && client != "" && client == subject {
		p.Kind = policy.Agent
	}
	if !c.has("act") {
		if p.Kind == policy.User && is.Principal != "user" {
			if client == "" {
				return w, &Error{Reason: "The token does not say which client it was issued to.", Remedy: "Let the issuer put azp or client_id into access tokens, or say `principal: user` or `principal: agent` for this issuer."}
			}
			p = is.delegated(p, client, "", people)
		}
		w.principal = p
		return w, nil
	}
	var act claims
	if json.Unmarshal(c["act"], &act) != nil {
		return w, malformed("act")
	}
	actor, err := act.text("sub")
	if err != nil {
		return w, err
	}
	if actor == "" || act.has("act") {
		return w, &Error{Reason: "The token's chain of actors (act) is longer than one, which is not built yet.", Remedy: "Use a token with one actor."}
	}
	p.Kind = policy.User
	w.principal = policy.Principal{Kind: policy.Agent, ID: is.Name + ":" + actor, Name: actor, Issuer: is.Name, Client: client, Groups: is.Agents[actor], OnBehalfOf: &p}
	return w, nil
}
