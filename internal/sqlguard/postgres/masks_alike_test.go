package postgres

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"gatehouse/internal/mask"
	"gatehouse/internal/policy"
)

// alphabets are what the texts are made of: what is one, two, three and four bytes long, combining and white space, and
// what masks look for.
var alphabets = []string{"abcXYZ019", "@.-+ ", "é½üñ", "山田日本語٠١٢", "𝄞😀", "e\u0301", "\t\n\u00a0", "tok_*"}

func someText(r *rand.Rand) string {
	var b strings.Builder
	length := r.IntN(14)
	if r.IntN(4) == 0 {
		length = r.IntN(60)
	}
	few := r.IntN(len(alphabets))
	for range length {
		from := []rune(alphabets[few])
		if r.IntN(3) == 0 {
			from = []rune(alphabets[r.IntN(len(alphabets))])
		}
		b.WriteRune(from[r.IntN(len(from))])
	}
	return b.String()
}

// TestMasksAreAlike: what a mask shows of a value is the same where the database computes it and where the gateway does,
// of texts, whole numbers, floating ones and dates that were made from a seed.
func TestMasksAreAlike(t *testing.T) {
	conn := ownDatabase(t, "alike", "SET timezone = 'Asia/Kathmandu'; SET datestyle = 'German, DMY'; SET extra_float_digits = 3; SET "+TokenSetting+" = '\\x"+strings.Repeat("ab", 32)+"'")
	seed := rand.Uint64()
	t.Logf("the seed is %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	type sample struct{ sql, text string } // as a parameter, and as the gateway reads it
	kinds := []struct {
		typ, spelled string
		masks        []policy.Mask
		back         string // how the shown value is written as the gateway writes it
		number       bool
		some         func() sample
	}{
		{"text", "text", []policy.Mask{policy.MaskNull, policy.MaskRedact, policy.MaskPartial, policy.MaskEmail}, "%s", false, func() sample { s := someText(r); return sample{s, s} }},
		{"varchar", "character varying", []policy.Mask{policy.MaskRedact, policy.MaskPartial, policy.MaskEmail}, "(%s)::text", false, func() sample { s := someText(r); return sample{s, s} }},
		{"int8", "bigint", []policy.Mask{policy.MaskNull, policy.MaskRedact, policy.MaskPartial, policy.MaskEmail, policy.MaskYear, policy.MaskBucket}, "(%s)::text", true, func() sample {
			n := int64(r.Uint64()) >> r.IntN(64)
			if r.IntN(50) == 0 {
				n = []int64{math.MinInt64, math.MaxInt64, 0, -1}[r.IntN(4)]
			}
			s := strconv.FormatInt(n, 10)
			return sample{s, s}
		}},
		{"float8", "double precision", []policy.Mask{policy.MaskPartial, policy.MaskBucket}, "(%s)::text", true, func() sample {
			s := strconv.FormatFloat((r.Float64()-0.5)*math.Pow(10, float64(r.IntN(20)-2)), 'g', -1, 64)
			return sample{s, s}
		}},
		{"date", "date", []policy.Mask{policy.MaskNull, policy.MaskYear, policy.MaskBucket}, "to_char(%s, 'YYYY-MM-DD')", false, func() sample {
			s := time.Date(1+r.IntN(9999), time.Month(1+r.IntN(12)), 1+r.IntN(28), 0, 0, 0, 0, time.UTC).Format(time.DateOnly)
			return sample{s, s}
		}},
		{"timestamptz", "timestamp with time zone", []policy.Mask{policy.MaskYear, policy.MaskBucket}, `to_char((%s) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')`, false, func() sample {
			at := time.Date(2+r.IntN(9996), time.Month(1+r.IntN(12)), 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60), 0, time.FixedZone("", (r.IntN(29)-14)*3600))
			if r.IntN(3) == 0 { // about the turn of a year
				at = time.Date(at.Year(), 1, 1, r.IntN(3)-1, 59*r.IntN(2), 0, 0, at.Location())
			}
			return sample{at.UTC().Format("2006-01-02 15:04:05+00"), at.Format(time.RFC3339)}
		}},
	}
	for _, kind := range kinds {
		for _, m := range kind.masks {
			width := int64(1 + r.IntN(120))
			if m == policy.MaskBucket && kind.number {
				width = 1 + r.Int64N(1<<uint(r.IntN(40)))
			}
			exposure := policy.Exposure{Visible: true, Mask: m, Width: width}
			rule := mask.Rule{Exposure: exposure, Class: "pii", Key: []byte("a key")}
			c := &Column{Name: "c", Type: Name{"pg_catalog", kind.typ}, TypeMod: -1, Spelled: kind.spelled}
			var samples []sample
			var values []string
			for range 1500 {
				s := kind.some()
				samples, values = append(samples, s), append(values, s.sql)
			}
			sql := fmt.Sprintf("SELECT "+kind.back+" FROM (SELECT v::%s AS c, n FROM unnest($1::text[]) WITH ORDINALITY u(v, n) OFFSET 0) s ORDER BY n", maskText(c, exposure, "s.c"), kind.spelled)
			rows, err := conn.Query(context.Background(), sql, values)
			if err != nil {
				t.Fatal(err)
			}
			shown, err := pgx.CollectRows(rows, pgx.RowTo[*string])
			if err != nil || len(shown) != len(samples) {
				t.Fatalf("%s under %v: %d values, %v", kind.typ, m, len(shown), err)
			}
			for i, s := range samples {
				want, ok := rule.Text(s.text)
				if kind.number {
					want, ok = rule.Number(s.text)
				}
				if (shown[i] != nil) != ok || ok && *shown[i] != want && !(kind.typ == "float8" && sameFloat(*shown[i], want)) {
					got := "nothing"
					if shown[i] != nil {
						got = strconv.Quote(*shown[i])
					}
					t.Errorf("%s %q under %v (%d): the database shows %s, the gateway %q, %v", kind.typ, s.text, m, width, got, want, ok)
				}
			}
		}
	}
}

func sameFloat(a, b string) bool {
	x, err1 := strconv.ParseFloat(a, 64)
	y, err2 := strconv.ParseFloat(b, 64)
	return err1 == nil && err2 == nil && x == y
}

// TestPseudonymsAreAlike: the two make pseudonyms with keys of their own, but of one form, and equal where values are.
func TestPseudonymsAreAlike(t *testing.T) {
	conn := ownDatabase(t, "alike_tokens", "")
	if _, err := conn.Exec(context.Background(), "SET "+TokenSetting+" = '\\x"+strings.Repeat("ab", 32)+"'"); err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("the seed is %d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	var values []string
	for range 1000 {
		s := someText(r)
		values = append(values, s, s)
	}
	c := &Column{Name: "c", Type: Name{"pg_catalog", "text"}, TypeMod: -1, Spelled: "text", Labels: []string{"pii"}}
	exposure := policy.Exposure{Visible: true, Mask: policy.MaskToken}
	rows, err := conn.Query(context.Background(), "SELECT "+maskText(c, exposure, "s.c")+" FROM (SELECT v AS c, n FROM unnest($1::text[]) WITH ORDINALITY u(v, n) OFFSET 0) s ORDER BY n", values)
	if err != nil {
		t.Fatal(err)
	}
	shown, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	rule := mask.Rule{Exposure: exposure, Class: "pii", Key: []byte("a key")}
	inSQL, inGo := map[string]string{}, map[string]string{}
	for i, v := range values {
		token, ok := rule.Text(v)
		if !ok || len(token) != len(shown[i]) || !strings.HasPrefix(token, "tok_") || !strings.HasPrefix(shown[i], "tok_") {
			t.Fatalf("%q: %q and %q", v, shown[i], token)
		}
		for of, seen := range map[string]map[string]string{shown[i]: inSQL, token: inGo} {
			if before, known := seen[of]; known && before != v {
				t.Errorf("%q and %q have one pseudonym", before, v)
			}
			seen[of] = v
		}
	}
	if len(inSQL) != len(inGo) {
		t.Errorf("%d pseudonyms in SQL, %d in the gateway", len(inSQL), len(inGo))
	}
}
