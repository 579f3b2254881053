package http

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"

	"gatehouse/internal/gate"
)

// Bounds of an answer.
const (
	part        = 8 << 10  // bytes that are masked at a time: what is shown of them is a few times that at most
	whole       = 32 << 10 // an answer of this length or less is masked before its header is sent
	maxRecorded = 1 << 20  // bytes of a body that are kept in the recording; of the rest, its hash
)

// withheldError is an answer that is not given to the client, and why.
type withheldError struct{ reason, remedy string }

func (e *withheldError) Error() string { return e.reason }

// rewrite makes the request that is sent to the API.
func rewrite(p *httputil.ProxyRequest) {
	c := callOf(p.In.Context())
	u := c.target.upstream(c.at)
	if c.upstreamQuery != "" {
		u.RawQuery = c.upstreamQuery
	}
	p.Out.URL, p.Out.Host, p.Out.Header = u, u.Host, c.upstreamHeader
}

// format is how a body is masked.
type format int

const (
	asIs format = iota
	oneDocument
	manyDocuments
	eventStream
)

// formatOf is the format of a content type; asIs where it is none that can be masked.
func formatOf(contentType string) (format, string, error) {
	if contentType == "" {
		return asIs, "", nil
	}
	name, parameters, err := mime.ParseMediaType(contentType)
	if err != nil {
		return asIs, "", errors.New("the API's answer has a content type that is not understood")
	}
	if charset := parameters["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") && !strings.EqualFold(charset, "us-ascii") {
		return asIs, name, nil
	}
	switch {
	case name == "application/graphql-response+json":
		return asIs, name, nil
	case name == "application/x-ndjson", name == "application/jsonl", name == "application/json-lines", name == "application/jsonlines", name == "application/x-jsonlines", name == "application/stream+json":
		return manyDocuments, name, nil
	case name == "text/event-stream":
		return eventStream, name, nil
	case name == "application/json", strings.HasPrefix(name, "application/") && strings.HasSuffix(name, "+json"):
		return oneDocument, name, nil
	}
	return asIs, name, nil
}

// modifyResponse turns the API's answer into what the client gets. Its error withholds the answer.
func modifyResponse(r *http.Response) error {
	c := callOf(r.Request.Context())
	labelled := c.target.endpoints.labelled
	if r.StatusCode < 200 {
		return &withheldError{"The API switched protocols, which is not built yet.", "Use plain requests."}
	}
	if len(r.Header.Values("Content-Type")) > 1 {
		return &withheldError{"The API's answer has several content types.", "Tell the API's owner."}
	}
	empty := c.method == http.MethodHead || r.StatusCode == http.StatusNoContent || r.StatusCode == http.StatusNotModified || r.ContentLength == 0
	f, name, err := formatOf(r.Header.Get("Content-Type"))
	switch {
	case err != nil:
		return &withheldError{err.Error() + ".", "Tell the API's owner."}
	case f == asIs && labelled && !empty:
		return &withheldError{fmt.Sprintf("The API answered with the content type %.100q, which cannot be masked, on a connection with labels.", name), "Ask for JSON (Accept: application/json), or use a connection without labels."}
	case f == asIs && !labelled && !empty && !c.target.passes(name):
		return &withheldError{fmt.Sprintf("The API answered with the content type %.100q, which the connection does not list.", name), "Ask the connection's operator to add it to content_types."}
	}
	if r.StatusCode == http.StatusPartialContent && labelled {
		return &withheldError{"The API answered with a part of a document, which was not asked for.", "Ask again."}
	}
	encodings := r.Header.Values("Content-Encoding")
	c.target.answerHeaders(r.Header, c.front, labelled && len(c.op.fields) > 0)
	a := &answer{call: c, source: r.Body, status: r.StatusCode, left: -1, sum: sha256.New()}
	masks := len(c.op.fields) > 0 && !c.use.plan.Raw() && !empty
	if encoding := strings.Join(encodings, ", "); encoding != "" && !strings.EqualFold(encoding, "identity") && labelled && !empty {
		if !strings.EqualFold(encoding, "gzip") {
			return &withheldError{fmt.Sprintf("The API compressed its answer (%.40q), though it was asked not to, and only gzip can be undone.", encoding), "Tell the API's owner."}
		}
		if a.source, err = newUnzipped(r.Body); err != nil {
			return &withheldError{"The API's answer says that it is gzip, and is not.", "Tell the API's owner."}
		}
		r.ContentLength = -1
	}
	if labelled {
		r.Header.Del("Content-Encoding")
	}
	if len(c.op.fields) > 0 {
		r.Header.Del("Content-Length")
		if empty {
			r.ContentLength = 0
			if c.method == http.MethodHead {
				r.ContentLength = -1
			}
		}
	}
	if masks {
		switch f {
		case eventStream:
			a.masker = c.use.plan.Events()
		default:
			a.masker = c.use.plan.Masker(f == manyDocuments)
		}
		if 0 < r.ContentLength && r.ContentLength <= whole {
			return a.whole(r, empty)
		}
		r.ContentLength = -1
	} else if r.ContentLength > 0 {
		a.left = r.ContentLength
	}
	return a.streamed(r, empty)
}

// passes says whether an answer of a type is given out as it is, on a connection without labels.
func (t *target) passes(name string) bool {
	for _, c := range t.options.ContentTypes {
		if c == "*/*" || c == name && name != "" || strings.HasSuffix(c, "/*") && strings.HasPrefix(name, strings.TrimSuffix(c, "*")) {
			return true
		}
	}
	return false
}

// unzipped is a gzip stream with the body that it comes from.
type unzipped struct {
	*gzip.Reader
	body io.Closer
}

func newUnzipped(body io.ReadCloser) (io.ReadCloser, error) {
	z, err := gzip.NewReader(io.LimitReader(body, 1<<40))
	if err != nil {
		return nil, err
	}
	return &unzipped{z, body}, nil
}

func (u *unzipped) Close() error { return errors.Join(u.Reader.Close(), u.body.Close()) }

// masker is a stream of a format.
type masker interface {
	Write(dst, p []byte) ([]byte, error)
	End(dst []byte) ([]byte, error)
}

// answer is a body on its way to the client: masked, and recorded before the client has it.
type answer struct {
	call   *call
	source io.ReadCloser
	masker masker // nil: as it is
	status int
	header []byte // as it is recorded; nil: it was
	left   int64  // bytes to come; -1: not known

	in, out  []byte
	pending  []byte // of out
	ended    bool
	total    uint64
	recorded int
	sum      hash.Hash
	err      error
}

// answerHead is what is recorded of an answer's header.
type answerHead struct {
	Status int               `json:"status"`
	Header map[string]string `json:"header"`
}

func (a *answer) head(r *http.Response) error {
	s := answerHead{a.status, map[string]string{}}
	for name, v := range r.Header {
		s.Header[name] = strings.Join(v, ", ")
	}
	var err error
	a.header, err = json.Marshal(s)
	return err
}

// whole masks a short answer before its header is sent: where that fails the client gets a clear error.
func (a *answer) whole(r *http.Response, _ bool) error {
	defer a.source.Close()
	body, err := io.ReadAll(io.LimitReader(a.source, whole+1))
	if err != nil {
		return fmt.Errorf("the answer was cut off: %w", err)
	}
	out, err := a.masker.Write(make([]byte, 0, len(body)+64), body)
	if err == nil {
		out, err = a.masker.End(out)
	}
	if err != nil {
		return &withheldError{"The API's answer is not what it says it is, so nothing of it is shown: " + err.Error() + ".", "Tell the API's owner."}
	}
	r.ContentLength = int64(len(out))
	r.Header.Set("Content-Length", strconv.Itoa(len(out)))
	if err := a.head(r); err != nil {
		return err
	}
	if err := a.note(out, true); err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(out))
	return nil
}

// streamed records the header, and gives the body out part by part.
func (a *answer) streamed(r *http.Response, empty bool) error {
	if err := a.head(r); err != nil {
		return err
	}
	if empty {
		a.source.Close()
		r.Body = http.NoBody
		return a.note(nil, true)
	}
	r.Body = a
	a.call.writer.streams = true
	return nil
}

// note records a part before it is given out; last ends the request.
func (a *answer) note(p []byte, last bool) error {
	a.total += uint64(len(p))
	a.sum.Write(p)
	var events []gate.Event
	if a.header != nil {
		events = append(events, gate.Event{Kind: gate.ResultSchema, Data: a.header})
		a.header = nil
	}
	if keep := p[:min(len(p), maxRecorded-a.recorded)]; len(keep) > 0 {
		a.recorded += len(keep)
		events = append(events, gate.Event{Kind: gate.ResultRows, Data: keep})
	}
	if last {
		a.ended = true
		return a.call.entry.Close(a.outcome(""), events...)
	}
	if len(events) == 0 {
		return nil
	}
	return a.call.entry.Record(events...)
}

// outcome is how the request ended, as its client saw it.
func (a *answer) outcome(failure string) gate.Outcome {
	o := gate.Outcome{Status: "ok", Summary: strconv.Itoa(a.status) + " " + http.StatusText(a.status), Bytes: a.total, Error: failure}
	if a.status >= 400 || failure != "" {
		o.Status = "error"
	}
	if a.total > uint64(a.recorded) {
		o.Summary += fmt.Sprintf(", %d of %d bytes recorded, sha256 %s", a.recorded, a.total, hex.EncodeToString(a.sum.Sum(nil)))
	}
	return o
}

// Read gives out what is shown. Any error ends the client's connection, so that a part is never taken for the whole.
func (a *answer) Read(p []byte) (int, error) {
	if a.masker == nil {
		return a.pass(p)
	}
	for len(a.pending) == 0 {
		if a.err != nil {
			return 0, a.err
		}
		a.fill()
	}
	n := copy(p, a.pending)
	a.pending = a.pending[n:]
	return n, nil
}

// pass gives out an answer that is not masked.
func (a *answer) pass(p []byte) (int, error) {
	if a.err != nil {
		return 0, a.err
	}
	n, err := a.source.Read(p)
	if a.left >= 0 {
		a.left -= int64(n)
	}
	switch {
	case err == io.EOF && a.left > 0:
		err = io.ErrUnexpectedEOF
	case err == nil && n == 0:
		return 0, nil
	}
	last := err == io.EOF || err == nil && a.left == 0
	if err != nil && err != io.EOF {
		n = 0
		a.fail(err)
		return 0, a.err
	}
	if noteErr := a.note(p[:n], last); noteErr != nil {
		a.err = noteErr
		return 0, noteErr
	}
	if last {
		a.err = io.EOF
	}
	return n, a.err
}

// fill masks the next part.
func (a *answer) fill() {
	if a.in == nil {
		a.in = make([]byte, part)
	}
	n, err := a.source.Read(a.in)
	out, maskErr := a.masker.Write(a.out[:0], a.in[:n])
	last := err == io.EOF
	if last && maskErr == nil {
		out, maskErr = a.masker.End(out)
	}
	if cap(out) <= 16*part {
		a.out = out
	}
	switch {
	case maskErr != nil:
		a.fail(maskErr)
		return
	case err != nil && !last:
		a.fail(err)
		return
	case len(out) == 0 && !last:
		return
	}
	if err := a.note(out, last); err != nil {
		a.err = err
		return
	}
	a.pending = out
	if last {
		a.err = io.EOF
	}
}

// fail ends an answer before its end: the client's connection is cut.
func (a *answer) fail(err error) {
	a.err = fmt.Errorf("the answer is cut off: %w", err)
	if a.ended {
		return
	}
	a.ended = true
	a.call.target.log.Warn("an answer was cut off", "request", a.call.entry.ID(), "error", err)
	why := failure(err)
	if a.call.session.Killed() != nil {
		why = "cut off: the session was ended"
	}
	a.call.entry.Close(a.outcome(why))
}

// failure is what is recorded of an error: no value of an answer is in it.
func failure(err error) string {
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return "cut off: it took too long"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "cut off: the API's connection was lost"
	}
	return "cut off: " + err.Error()
}

// Close is called when the answer is over, or nobody wants it any more.
func (a *answer) Close() error {
	if !a.ended {
		a.ended = true
		a.call.entry.Close(a.outcome("cut off: the client left"))
	}
	return a.source.Close()
}

// failed answers where the API gave no answer that could be given out.
func failed(w http.ResponseWriter, r *http.Request, err error) {
	c := callOf(r.Context())
	var withheld *withheldError
	if errors.As(err, &withheld) {
		status := http.StatusBadGateway
		c.end(gate.Outcome{Status: "error", Summary: "the API's answer was withheld", Error: withheld.reason})
		refuse(w, &gate.Refusal{Code: gate.NotUnderstood, Reason: withheld.reason, Remedy: withheld.remedy, RequestID: c.entry.ID()}, status, "")
		return
	}
	refusal, ok := gate.AsRefusal(err)
	if killed := c.session.Killed(); killed != nil {
		refusal, ok = killed, true
	}
	if ok {
		c.end(gate.Outcome{Status: "unknown", Error: refusal.Reason})
		refuse(w, refusal, 0, "")
		return
	}
	c.target.log.Warn("the API gave no answer", "request", c.entry.ID(), "error", err)
	var op *net.OpError
	out := gate.Outcome{Status: "unknown", Error: "the connection to the API was lost"}
	answer := &gate.Refusal{Code: gate.Unavailable, Reason: "The API behind connection " + c.target.connection.Name + " gave no answer; whether the request took effect is unknown.",
		Remedy: "Look before you repeat a write; if it stays, tell the operator of this gateway: its log names the cause.", RequestID: c.entry.ID()}
	if errors.As(err, &op) && op.Op == "dial" {
		out.Status, out.Error = "error", "the API cannot be reached"
		answer.Reason, answer.Remedy = "The API behind connection "+c.target.connection.Name+" cannot be reached.", "Try again; if it stays, tell the operator of this gateway: its log names the cause."
	}
	c.end(out)
	refuse(w, answer, http.StatusBadGateway, "")
}

// end closes the request's entry where no answer did.
func (c *call) end(o gate.Outcome) {
	if err := c.entry.Close(o); err != nil {
		c.target.log.Error("how a request ended was not recorded", "request", c.entry.ID(), "error", err)
	}
}
