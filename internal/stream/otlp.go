package stream

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"gatehouse/internal/gate"
)

// otlp sends log records by OTLP over HTTP, in protobuf (opentelemetry.io/docs/specs/otlp, 1.9).
type otlp struct {
	target  Target
	version string
	silence time.Duration
	client  *http.Client
}

func (s *otlp) answers() bool { return true }

func (s *otlp) close() error {
	if s.client != nil {
		s.client.CloseIdleConnections()
	}
	return nil
}

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 64 << 10

func (s *otlp) send(ctx context.Context, batch []message) (rejected int, err error) {
	if s.client == nil {
		c, err := s.target.tls()
		if err != nil {
			return 0, err
		}
		s.client = &http.Client{
			Timeout:       s.silence,
			Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: c, ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the headers are for this host
		}
	}
	body, err := proto.Marshal(s.records(batch))
	if err != nil {
		return 0, err
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(body); err != nil {
		return 0, err
	}
	if err := z.Close(); err != nil {
		return 0, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.target.To, &packed)
	if err != nil {
		return 0, err
	}
	if r.Header, err = s.target.headers(); err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", "application/x-protobuf")
	r.Header.Set("Content-Encoding", "gzip")
	r.Header.Set("User-Agent", "gatehouse/"+s.version)
	answer, err := s.client.Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return 0, err
	}
	if answer.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("the receiver says %s%s", answer.Status, because(answer.Header.Get("Content-Type"), text))
	}
	return partial(text)
}

// because is the message of a failure: a google.rpc.Status, whose field 2 it is.
func because(kind string, text []byte) string {
	if kind != "application/x-protobuf" {
		return ""
	}
	for len(text) > 0 {
		field, wire, n := protowire.ConsumeTag(text)
		if n < 0 {
			return ""
		}
		if field == 2 && wire == protowire.BytesType {
			if b, m := protowire.ConsumeBytes(text[n:]); m >= 0 {
				return ": " + strings.ToValidUTF8(string(b[:min(len(b), 300)]), "")
			}
			return ""
		}
		m := protowire.ConsumeFieldValue(field, wire, text[n:])
		if m < 0 {
			return ""
		}
		text = text[n+m:]
	}
	return ""
}

var errAnswer = errors.New("the receiver's answer cannot be read: is it an OTLP receiver?")

// partial is how many records an ExportLogsServiceResponse says were rejected: its partial_success (1) has
// rejected_log_records (1).
func partial(text []byte) (rejected int, err error) {
	walk := func(b []byte, want protowire.Number, take func(wire protowire.Type, b []byte) int) error {
		for len(b) > 0 {
			field, wire, n := protowire.ConsumeTag(b)
			if n < 0 {
				return errAnswer
			}
			m := protowire.ConsumeFieldValue(field, wire, b[n:])
			if field == want && m >= 0 {
				m = take(wire, b[n:])
			}
			if m < 0 {
				return errAnswer
			}
			b = b[n+m:]
		}
		return nil
	}
	err = walk(text, 1, func(wire protowire.Type, b []byte) int {
		inner, n := protowire.ConsumeBytes(b)
		if wire != protowire.BytesType || n < 0 {
			return -1
		}
		if walk(inner, 1, func(wire protowire.Type, b []byte) int {
			v, n := protowire.ConsumeVarint(b)
			if wire != protowire.VarintType || v > 1<<31 {
				return -1
			}
			rejected = int(v)
			return n
		}) != nil {
			return -1
		}
		return n
	})
	return rejected, err
}

// records are the events as OTLP has them. On the wire LogsData is what ExportLogsServiceRequest is.
func (s *otlp) records(batch []message) *logs.LogsData {
	var out []*logs.LogRecord
	now := uint64(time.Now().UnixNano())
	for i := range batch {
		m := &batch[i]
		severity, name := logs.SeverityNumber_SEVERITY_NUMBER_INFO, "INFO"
		if m.Kind == gate.Alerted {
			severity, name = logs.SeverityNumber_SEVERITY_NUMBER_ERROR, "ERROR"
		}
		attributes := []*common.KeyValue{
			text("log.record.uid", m.ID), text("session.id", m.Session), text("gatehouse.connection", m.Connection),
			text("gatehouse.protocol", m.Protocol), text("user.id", m.Principal),
		}
		if m.Request > 0 {
			attributes = append(attributes, text("gatehouse.request", fmt.Sprintf("%s.%d", m.Session, m.Request)))
		}
		out = append(out, &logs.LogRecord{
			TimeUnixNano: uint64(m.Time.UnixNano()), ObservedTimeUnixNano: now, SeverityNumber: severity, SeverityText: name,
			EventName: "gatehouse." + string(m.Kind), Attributes: attributes,
			Body: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: strings.ToValidUTF8(string(m.text), "\ufffd")}},
		})
	}
	host, _ := os.Hostname()
	return &logs.LogsData{ResourceLogs: []*logs.ResourceLogs{{
		Resource:  &resource.Resource{Attributes: []*common.KeyValue{text("service.name", "gatehouse"), text("service.version", s.version), text("host.name", host)}},
		ScopeLogs: []*logs.ScopeLogs{{Scope: &common.InstrumentationScope{Name: "gatehouse.recordings"}, LogRecords: out}},
	}}}
}

func text(key, value string) *common.KeyValue {
	return &common.KeyValue{Key: key, Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: value}}}
}
