package http

import (
	"encoding/json"
	"net/http"
	"strconv"

	"gatehouse/internal/gate"
)

// problem is a refusal as RFC 9457 writes it.
type problem struct {
	Type      string   `json:"type"`
	Title     string   `json:"title"`
	Status    int      `json:"status"`
	Detail    string   `json:"detail"`
	Code      string   `json:"code"`
	Policies  []string `json:"policies,omitempty"`
	Missing   []string `json:"missing,omitempty"`
	Remedy    string   `json:"remedy"`
	RequestID string   `json:"request_id,omitempty"`
	// Approval is where the request is answered, where it waits for people.
	Approval string `json:"approval,omitempty"`
	// Upstream is the API's own status, where its answer was not given out.
	Upstream int `json:"upstream_status,omitempty"`
}

// statuses are those that refusals are sent with.
var statuses = map[gate.Code]int{
	gate.PolicyDenied: http.StatusForbidden, gate.ApprovalDenied: http.StatusForbidden, gate.ApprovalRequired: http.StatusServiceUnavailable,
	gate.NotUnderstood: http.StatusBadRequest, gate.IdentityRejected: http.StatusUnauthorized, gate.LimitExceeded: http.StatusRequestEntityTooLarge, gate.Unavailable: http.StatusServiceUnavailable,
}

var titles = map[gate.Code]string{
	gate.PolicyDenied: "Not permitted", gate.ApprovalDenied: "Approval denied", gate.ApprovalRequired: "Approval required", gate.NotUnderstood: "Not understood",
	gate.IdentityRejected: "Identity rejected", gate.LimitExceeded: "Limit exceeded", gate.Unavailable: "Unavailable",
}

// retryAfter is how many seconds a client should wait before it sends a held request again.
const retryAfter = 5

// refuse answers with a refusal. status 0 is that of its code.
func refuse(w http.ResponseWriter, r *gate.Refusal, status int, approval string) {
	if status == 0 {
		status = statuses[r.Code]
	}
	if status == 0 {
		status = http.StatusInternalServerError
	}
	p := problem{
		Type: "urn:gatehouse:problem:" + string(r.Code), Title: titles[r.Code], Status: status, Detail: r.Reason, Code: string(r.Code),
		Policies: r.Policies, Remedy: r.Remedy, RequestID: r.RequestID, Approval: approval,
	}
	for _, t := range r.Missing {
		p.Missing = append(p.Missing, t.String())
	}
	h := w.Header()
	if r.Code == gate.IdentityRejected {
		h.Set("WWW-Authenticate", `Bearer realm="gatehouse"`)
	}
	if r.Code == gate.ApprovalRequired {
		h.Set("Retry-After", strconv.Itoa(retryAfter))
	}
	p.write(w)
}

func (p *problem) write(w http.ResponseWriter) {
	b, err := json.Marshal(p)
	if err != nil { // none of its fields can fail to marshal
		b = []byte("{}")
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(b)+1))
	w.WriteHeader(p.Status)
	w.Write(append(b, '\n'))
}
