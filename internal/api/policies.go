package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"gatehouse/internal/store"
	"gatehouse/internal/versions"
)

// maxPolicies bounds a request that carries policies, in bytes: their text in JSON, which may escape much of it.
const maxPolicies = 2*versions.MaxBytes + 64<<10

type versionsInput struct {
	Limit int `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"at most so many versions"`
}

type versionInput struct {
	Version string `path:"version" pattern:"^(head|[0-9]{1,15}|[0-9a-f]{16})$" doc:"a number, head, or the policy_version of a recorded decision"`
}

type publishInput struct {
	Body struct {
		Base   int64              `json:"base" minimum:"0" doc:"the version that the files were made from"`
		Reason string             `json:"reason" maxLength:"2000" doc:"why; kept with the version"`
		Files  []store.PolicyFile `json:"files" maxItems:"1000"`
		DryRun bool               `json:"dry_run,omitempty" doc:"only say what would happen"`
	}
}

type rollbackInput struct {
	Version string `path:"version" pattern:"^(head|[0-9]{1,15}|[0-9a-f]{16})$" doc:"the version whose files are wanted again"`
	Body    struct {
		Base   int64  `json:"base" minimum:"0" doc:"the version that is in force"`
		Reason string `json:"reason" maxLength:"2000"`
		DryRun bool   `json:"dry_run,omitempty"`
	}
}

func (s *service) registerPolicies(api huma.API, operation func(id, method, path, summary string) huma.Operation) {
	huma.Register(api, operation("list-policy-versions", "GET", "/policies/versions", "Which policies are in force, where they come from, and their versions"), func(ctx context.Context, in *versionsInput) (*output[versions.Status], error) {
		return answer(s, func() (versions.Status, error) { return s.o.Versions.List(ctx, person(ctx), in.Limit) })
	})
	huma.Register(api, operation("get-policy-version", "GET", "/policies/versions/{version}", "One version of the policies, with its files"), func(ctx context.Context, in *versionInput) (*output[versions.Version], error) {
		return answer(s, func() (versions.Version, error) { return s.o.Versions.Get(ctx, person(ctx), in.Version) })
	})
	publish := operation("publish-policies", "POST", "/policies/versions", "Publish a version of the policies")
	publish.MaxBodyBytes = maxPolicies
	huma.Register(api, publish, func(ctx context.Context, in *publishInput) (*output[versions.Result], error) {
		return answer(s, func() (versions.Result, error) {
			b := in.Body
			return s.o.Versions.Publish(ctx, person(ctx), versions.Draft{Base: b.Base, Files: b.Files, Reason: b.Reason, DryRun: b.DryRun})
		})
	})
	huma.Register(api, operation("roll-back-policies", "POST", "/policies/versions/{version}/rollback", "Publish what an earlier version said"), func(ctx context.Context, in *rollbackInput) (*output[versions.Result], error) {
		return answer(s, func() (versions.Result, error) {
			return s.o.Versions.Rollback(ctx, person(ctx), in.Version, in.Body.Base, in.Body.Reason, in.Body.DryRun)
		})
	})
}

// answer gives what do gives, or a problem.
func answer[T any](s *service, do func() (T, error)) (*output[T], error) {
	v, err := do()
	if err != nil {
		return nil, s.problem(err)
	}
	return &output[T]{v}, nil
}

// bodyLimit bounds a request's body by what it is for, in bytes.
func bodyLimit(r *http.Request) int64 {
	if r.Method == http.MethodPost && r.URL.Path == "/api/v1/policies/versions" {
		return maxPolicies
	}
	return maxBody
}
