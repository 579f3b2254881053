package tools

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// patience is how long one exchange may take.
const patience = 4 * time.Minute

// wire is a client that writes down every message that comes back.
type wire struct {
	t testing.TB
	*pgconn.HijackedConn
}

func (r road) dial(t testing.TB) *wire {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := pgconn.Connect(ctx, r.url())
	if err != nil {
		t.Fatalf("%s: %v", r.name, err)
	}
	if err := conn.SyncConn(ctx); err != nil { // nothing reads in the background
		t.Fatal(err)
	}
	h, err := conn.Hijack()
	if err != nil {
		t.Fatal(err)
	}
	h.Conn.SetDeadline(time.Time{})
	t.Cleanup(func() { h.Conn.Close() })
	return &wire{t, h}
}

// simple runs a text by the simple protocol.
func (w *wire) simple(text string) string {
	w.t.Helper()
	return w.exchange(&pgproto3.Query{String: text})
}

// extended runs one statement by the extended protocol: prepared, described, bound, described, executed.
// binary asks for results in the binary format.
func (w *wire) extended(text string, args []*string, binary bool) string {
	w.t.Helper()
	values := make([][]byte, len(args))
	for i, a := range args {
		if a != nil {
			values[i] = []byte(*a)
		}
	}
	bind := &pgproto3.Bind{PreparedStatement: "s", Parameters: values}
	if binary {
		bind.ResultFormatCodes = []int16{1}
	}
	out := w.exchange(&pgproto3.Parse{Name: "s", Query: text}, &pgproto3.Describe{ObjectType: 'S', Name: "s"}, &pgproto3.Sync{})
	if strings.Contains(out, "ErrorResponse") {
		return out
	}
	return out + w.exchange(bind, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}, &pgproto3.Sync{}) +
		w.exchange(&pgproto3.Close{ObjectType: 'S', Name: "s"}, &pgproto3.Sync{})
}

// exchange sends messages and writes down the answers up to ReadyForQuery.
func (w *wire) exchange(messages ...pgproto3.FrontendMessage) string {
	w.t.Helper()
	w.Conn.SetDeadline(time.Now().Add(patience))
	for _, m := range messages {
		w.Frontend.Send(m)
	}
	if err := w.Frontend.Flush(); err != nil {
		w.t.Fatal(err)
	}
	var b strings.Builder
	for {
		m, err := w.Frontend.Receive()
		if err != nil {
			w.t.Fatalf("after %q: %v", b.String(), err)
		}
		say(&b, m)
		if _, done := m.(*pgproto3.ReadyForQuery); done {
			return b.String()
		}
	}
}

var schemas = strings.NewReplacer("public.", "", "pg_catalog.", "")

// say writes a message down: all that a client can make use of.
func say(b *strings.Builder, m pgproto3.BackendMessage) {
	switch m := m.(type) {
	case *pgproto3.RowDescription:
		b.WriteString("RowDescription")
		for _, f := range m.Fields {
			fmt.Fprintf(b, " %s:%d.%d:%d/%d/%d/%d", f.Name, f.TableOID, f.TableAttributeNumber, f.DataTypeOID, f.DataTypeSize, f.TypeModifier, f.Format)
		}
	case *pgproto3.ParameterDescription:
		fmt.Fprintf(b, "ParameterDescription %v", m.ParameterOIDs)
	case *pgproto3.DataRow:
		b.WriteString("DataRow")
		for _, v := range m.Values {
			if v == nil {
				b.WriteString(" NULL")
			} else {
				fmt.Fprintf(b, " %q", v)
			}
		}
	case *pgproto3.CopyOutResponse:
		fmt.Fprintf(b, "CopyOutResponse %d %v", m.OverallFormat, m.ColumnFormatCodes)
	case *pgproto3.CopyData:
		fmt.Fprintf(b, "CopyData %q", m.Data)
	case *pgproto3.CommandComplete:
		fmt.Fprintf(b, "CommandComplete %s", m.CommandTag)
	case *pgproto3.ErrorResponse:
		// The gateway writes schemas into names; the database repeats them where the statement had none.
		fmt.Fprintf(b, "ErrorResponse %s %s: %s", m.Severity, m.Code, schemas.Replace(m.Message))
		if m.Detail != "" {
			fmt.Fprintf(b, " (%s)", m.Detail)
		}
	case *pgproto3.NoticeResponse, *pgproto3.ParameterStatus:
		return // dropped, and reported at other moments, by the gateway
	case *pgproto3.ReadyForQuery:
		fmt.Fprintf(b, "ReadyForQuery %c", m.TxStatus)
	default:
		b.WriteString(strings.TrimPrefix(fmt.Sprintf("%T", m), "*pgproto3."))
	}
	b.WriteString("\n")
}

// column is the one column of a query's result, as text.
func column(t testing.TB, url, query string) []string {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	results, err := conn.Exec(t.Context(), query).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, row := range results[0].Rows {
		out = append(out, string(row[0]))
	}
	return out
}
