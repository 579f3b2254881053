// Package api is the control API: what people do with held requests and with policies, by bearer token, and the
// plain page that a hold's URL shows until there is a UI.
//
// An agent's token is good for nothing here, and no answer carries a token.
package api

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"gatehouse/internal/approval"
	"gatehouse/internal/breakglass"
	"gatehouse/internal/gate"
	"gatehouse/internal/grant"
	"gatehouse/internal/identity"
	"gatehouse/internal/policy"
	"gatehouse/internal/versions"
)

// Verifier turns a person's bearer token into an identity; its errors for the client are *identity.Error.
type Verifier interface {
	VerifyPerson(ctx context.Context, token string) (identity.Identity, error)
}

// Options are what the API is made of.
type Options struct {
	Verifier Verifier
	Book     *approval.Book
	Versions *versions.History
	Glass    *breakglass.Book
	Grants   *grant.Book
	Catalogs Catalogs
	Gate     *gate.Gate
	// Policies are those in force, and Connections those that are configured.
	Policies    func() *policy.Set
	Connections []gate.Connection
	Log         *slog.Logger
	Version     string
}

// maxBody bounds a request's body, in bytes.
const maxBody = 64 << 10

// New makes the handler; a missing part is an error.
func New(o Options) (http.Handler, error) {
	if o.Verifier == nil || o.Book == nil || o.Versions == nil || o.Glass == nil || o.Grants == nil || o.Catalogs == nil || o.Gate == nil || o.Policies == nil || o.Log == nil {
		return nil, errors.New("api: every part is required")
	}
	mux := http.NewServeMux()
	config := huma.DefaultConfig("Gatehouse", o.Version)
	config.DocsPath = "" // its pages would load scripts from elsewhere
	config.SchemasPath = ""
	config.CreateHooks = nil
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"bearer": {Type: "http", Scheme: "bearer"}}
	api := humago.New(mux, config)
	s := &service{o}
	api.UseMiddleware(s.authenticate(api))
	s.register(api)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /approvals/{id}", page)
	mux.HandleFunc("GET /{$}", front)
	return secured(mux), nil
}

// secured bounds bodies and sets the headers that keep pages to themselves.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		limit := bodyLimit(r)
		if r.ContentLength > limit && r.Header.Get("Authorization") != "" {
			io.CopyN(io.Discard, r.Body, maxDrained) // who is cut off in the middle of sending does not see why
			tooLong(w, limit)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, limit)
		next.ServeHTTP(w, r)
	})
}

// maxDrained is how much of a body that is too long is read before the answer, in bytes.
const maxDrained = 32 << 20

func tooLong(w http.ResponseWriter, limit int64) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(http.StatusRequestEntityTooLarge)
	json.NewEncoder(w).Encode(map[string]any{
		"title": http.StatusText(http.StatusRequestEntityTooLarge), "status": http.StatusRequestEntityTooLarge,
		"detail": fmt.Sprintf("The request's body is longer than %d bytes. Say it shorter.", limit),
	})
}

type service struct{ o Options }

type personKey struct{}

type clientKey struct{}

// authenticate lets through who has a person's token.
func (s *service) authenticate(api huma.API) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		token, ok := strings.CutPrefix(ctx.Header("Authorization"), "Bearer ")
		if !ok || token == "" {
			s.unauthorized(api, ctx, "The request has no bearer token.", "Sign in with `gatehouse login` and send the token as Authorization: Bearer.")
			return
		}
		who, err := s.o.Verifier.VerifyPerson(ctx.Context(), token)
		var e *identity.Error
		switch {
		case errors.As(err, &e):
			s.unauthorized(api, ctx, e.Reason, e.Remedy)
		case err != nil:
			s.o.Log.Error("a token could not be verified", "error", err)
			huma.WriteErr(api, ctx, http.StatusInternalServerError, "The gateway had an error of its own; its log names the cause.")
		default:
			next(huma.WithValue(huma.WithValue(ctx, personKey{}, who), clientKey{}, ctx.RemoteAddr()))
		}
	}
}

func (s *service) unauthorized(api huma.API, ctx huma.Context, reason, remedy string) {
	ctx.SetHeader("WWW-Authenticate", "Bearer")
	huma.WriteErr(api, ctx, http.StatusUnauthorized, reason+" "+remedy)
}

func person(ctx context.Context) identity.Identity {
	who, _ := ctx.Value(personKey{}).(identity.Identity)
	return who
}

// problem turns an error of the book into an RFC 9457 problem.
func (s *service) problem(err error) error {
	var e *approval.Error
	if errors.As(err, &e) {
		status := map[approval.Kind]int{approval.NotFound: 404, approval.NotAllowed: 403, approval.Conflict: 409, approval.Invalid: 422}[e.Kind]
		if status != 0 {
			return huma.NewError(status, e.Text())
		}
	}
	s.o.Log.Error("an API request failed", "error", err)
	return huma.Error500InternalServerError("The gateway had an error of its own; its log names the cause.")
}

type listInput struct {
	State string `query:"state" enum:"pending,approved,denied,expired,withdrawn,running,done,unknown,open,awaiting-review,reviewed" doc:"only what is in this state"`
	Limit int    `query:"limit" minimum:"1" maximum:"500" default:"50"`
}

type idInput struct {
	ID string `path:"id" pattern:"^(ap|bg|gr)-[a-z0-9]{1,40}$" doc:"the approval's id"`
}

type answerInput struct {
	ID   string `path:"id" pattern:"^ap-[a-z0-9]{1,40}$" doc:"the approval's id"`
	Body struct {
		Reason  string `json:"reason,omitempty" maxLength:"2000" doc:"what the requester is told"`
		MaxRows int64  `json:"max_rows,omitempty" minimum:"0" doc:"more changed rows than these are rolled back; 0: no bound"`
	}
}

type output[T any] struct{ Body T }

// Who is the caller, as the gateway sees them.
type Who struct {
	ID     string   `json:"id"`
	Name   string   `json:"name,omitempty"`
	Groups []string `json:"groups"`
}

func (s *service) register(api huma.API) {
	operation := func(id, method, path, summary string) huma.Operation {
		return huma.Operation{OperationID: id, Method: method, Path: "/api/v1" + path, Summary: summary, Security: []map[string][]string{{"bearer": {}}}, MaxBodyBytes: maxBody}
	}
	huma.Register(api, operation("whoami", "GET", "/whoami", "Who the token belongs to"), func(ctx context.Context, _ *struct{}) (*output[Who], error) {
		p := person(ctx).Principal
		return &output[Who]{Who{ID: p.ID, Name: p.Name, Groups: append([]string{}, p.Groups...)}}, nil
	})
	huma.Register(api, operation("list-approvals", "GET", "/approvals", "Held requests, newest first"), func(ctx context.Context, in *listInput) (*output[[]approval.View], error) {
		return answer(s, func() ([]approval.View, error) { return s.list(ctx, in.State, in.Limit) })
	})
	huma.Register(api, operation("get-approval", "GET", "/approvals/{id}", "One held request"), func(ctx context.Context, in *idInput) (*output[approval.View], error) {
		return answer(s, func() (approval.View, error) { return s.get(ctx, in.ID) })
	})
	huma.Register(api, operation("preview-approval", "GET", "/approvals/{id}/preview", "What a request that waits would do now"), func(ctx context.Context, in *idInput) (*output[gate.Effect], error) {
		client, _ := ctx.Value(clientKey{}).(string)
		return answer(s, func() (gate.Effect, error) { return s.o.Book.Preview(ctx, person(ctx), client, in.ID) })
	})
	for _, verb := range []string{"approve", "deny"} {
		huma.Register(api, operation(verb, "POST", "/approvals/{id}/"+verb, strings.ToUpper(verb[:1])+verb[1:]+" a held request"), func(ctx context.Context, in *answerInput) (*output[approval.View], error) {
			v, err := s.o.Book.Decide(ctx, person(ctx), in.ID, approval.Said{Approve: verb == "approve", Reason: in.Body.Reason, MaxRows: in.Body.MaxRows})
			if err != nil {
				return nil, s.problem(err)
			}
			return &output[approval.View]{v}, nil
		})
	}
	s.registerPolicies(api, operation)
	s.registerBreakGlass(api, operation)
	s.registerGrants(api, operation)
	s.registerSessions(api, operation)
	s.registerCatalog(api, operation)
}

//go:embed approval.html front.html
var files embed.FS

var approvalPage = template.Must(template.ParseFS(files, "approval.html"))

// front is what the listener's address itself shows: what this is. It tells nothing of this gateway.
func front(w http.ResponseWriter, _ *http.Request) {
	b, err := files.ReadFile("front.html")
	if err != nil {
		http.Error(w, "Gatehouse", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(b)
}

var idPattern = regexp.MustCompile(`^(ap|bg|gr)-[a-z0-9]{1,40}$`)

// page is what a hold's URL shows: how to answer it. It is the same for every id, known or not.
func page(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if !idPattern.MatchString(id) {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := approvalPage.Execute(w, struct {
		ID     string
		Window bool
	}{id, strings.HasPrefix(id, "bg-")}); err != nil {
		return // the client has left
	}
}
