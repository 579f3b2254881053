package postgres

import (
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgtype"
)

// types knows PostgreSQL's own types. It is not changed after it was made.
var types = pgtype.NewMap()

// scanText reads a binary value of a built-in type as text.
func scanText(typ uint32, v []byte) (string, bool) {
	switch typ {
	case pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID, pgtype.NameOID, pgtype.UnknownOID, pgtype.JSONOID:
		return string(v), utf8.Valid(v)
	case pgtype.JSONBOID:
		if len(v) > 0 && v[0] == 1 {
			return string(v[1:]), utf8.Valid(v)
		}
		return "", false
	}
	t, ok := types.TypeForOID(typ)
	if !ok {
		return "", false
	}
	value, err := t.Codec.DecodeValue(types, typ, pgtype.BinaryFormatCode, v)
	if err != nil {
		return "", false
	}
	switch x := value.(type) {
	case time.Time:
		if typ == pgtype.DateOID {
			return x.Format(time.DateOnly), true
		}
		return x.UTC().Format("2006-01-02 15:04:05.999999Z07:00"), true
	case int16, int32, int64, uint32, float32, float64, bool:
		return fmt.Sprint(x), true
	case [16]byte:
		return fmt.Sprintf("%x-%x-%x-%x-%x", x[0:4], x[4:6], x[6:8], x[8:10], x[10:]), true
	}
	plan := types.PlanScan(typ, pgtype.BinaryFormatCode, new(string))
	var text string
	if plan != nil && plan.Scan(v, &text) == nil {
		return text, true
	}
	if text, err := encodeText(typ, value); err == nil {
		return text, true
	}
	return "", false
}

func encodeText(typ uint32, value any) (string, error) {
	b, err := types.Encode(typ, pgtype.TextFormatCode, value, nil)
	return string(b), err
}
