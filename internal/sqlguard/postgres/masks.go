package postgres

import (
	"fmt"
	"slices"

	"gatehouse/internal/policy"
)

// maskText is the expression that shows a value under its masks. It has exactly the column's type, it is
// total (it never raises an error), does not depend on the session's settings, and a mask that does not fit
// the type shows nothing.
func maskText(c *Column, e policy.Exposure, value string) string {
	if e.Mask == policy.MaskNone {
		return value
	}
	if c.Domain {
		// A domain may refuse NULL, and its checks may raise; a branch that is never taken has its type.
		return "CASE WHEN false THEN " + value + " END"
	}
	switch m := fitting(c, e); m {
	case policy.MaskRedact:
		return "'***'::" + c.Spelled
	case policy.MaskPartial:
		return partialText(plainText(c, value)) + cast(c)
	case policy.MaskEmail: // a column's own collation may be one that a search fails under
		text := plainText(c, value)
		return "CASE WHEN pg_catalog.strpos(" + text + " COLLATE \"C\", '@') < 4 THEN '***' ELSE pg_catalog.left(" + text + ", 1) || '***@***.invalid' END" + cast(c)
	case policy.MaskToken:
		return tokenText(c, value)
	case policy.MaskYear, policy.MaskBucket:
		if isTime(c) {
			return yearText(c, m, e.Width, value)
		}
		return bucketText(c, e.Width, value)
	}
	return "NULL::" + c.Spelled
}

// fitting is the mask that is written for a value under all the masks of an exposure: the least of what each
// shows of the column's type.
func fitting(c *Column, e policy.Exposure) policy.Mask {
	all := e.All.List()
	if len(all) == 0 {
		all = []policy.Mask{e.Mask}
	}
	least := policy.MaskNone
	if slices.Contains(all, policy.MaskEmail) && slices.Contains(all, policy.MaskPartial) {
		least = policy.MaskRedact // they show different parts of a value
	}
	for _, m := range all {
		least = min(least, fit(c, m, e.Width))
	}
	return least
}

// fit is what a mask becomes for the type of a column.
func fit(c *Column, m policy.Mask, width int64) policy.Mask {
	fits := textLike(c) || c.Citext
	switch m {
	case policy.MaskYear:
		fits = isTime(c)
	case policy.MaskBucket:
		fits = width > 0 && (isTime(c) || isNumber(c))
	case policy.MaskToken:
		if narrow(c) || c.Citext { // equal values would have different pseudonyms
			return policy.MaskRedact
		}
		fits = fits || isKey(c)
	}
	if !fits {
		return policy.MaskNull
	}
	return m
}

// partialText is the last four characters of a text of eight or more. Counting characters is most of what that
// takes, so a text of more than ten bytes is cut four bytes' worth before its end: "all but as many characters as
// it has bytes, less four". In ASCII that is the last four; each byte that a character has beyond its first takes
// one of them away, so that never more shows. Where that leaves nothing, and in shorter texts, characters are counted.
func partialText(text string) string {
	const counted = "CASE WHEN pg_catalog.length(%[1]s) < 8 THEN '***' ELSE '***' || pg_catalog.right(%[1]s, 4) END"
	const cut = "CASE WHEN pg_catalog.octet_length(%[1]s) > 10 THEN '***' || pg_catalog.right(%[1]s, 4 - pg_catalog.octet_length(%[1]s)) ELSE '***' END"
	return fmt.Sprintf("COALESCE(NULLIF("+cut+", '***'), "+counted+")", text)
}

// plainText is the value as text: its own type, where that makes no difference.
func plainText(c *Column, value string) string {
	if c.Type.Name == "text" {
		return value
	}
	return value + "::text"
}

// cast is the cast of a text to the column's type, where one is needed.
func cast(c *Column) string {
	if c.Spelled == "text" {
		return ""
	}
	return "::" + c.Spelled
}

// bucketText is a number cut down towards zero to a multiple of the width: that never grows beyond its type.
func bucketText(c *Column, width int64, value string) string {
	switch c.Type.Name {
	case "float4", "float8":
		f := value + "::float8"
		return fmt.Sprintf("CASE WHEN pg_catalog.abs(%[1]s) < %[2]d::float8 THEN 0 WHEN pg_catalog.abs(%[1]s) < 1e15::float8 THEN pg_catalog.trunc(%[1]s / %[2]d::float8) * %[2]d::float8 END::%[3]s", f, width, c.Spelled)
	}
	return fmt.Sprintf("(%[1]s - %[1]s %% %[2]d)::%[3]s", value, width, c.Spelled)
}

// yearText is the first day of a date's year, or of so many years counted from year 0. Times are those of
// UTC, so that no setting of the session moves the border. Dates before Christ, and from 9999 on, show nothing.
func yearText(c *Column, m policy.Mask, width int64, value string) string {
	if m == policy.MaskYear {
		width = 1
	}
	utc, low, back := value, "0001-01-01", "pg_catalog.make_date(%s, 1, 1)"
	switch c.Type.Name {
	case "timestamp":
		back = "pg_catalog.make_timestamp(%s, 1, 1, 0, 0, 0)"
	case "timestamptz":
		utc, low, back = "pg_catalog.timezone('UTC', "+value+")", "0001-01-01 00:00:00+00", "pg_catalog.timezone('UTC', pg_catalog.make_timestamp(%s, 1, 1, 0, 0, 0))"
	}
	high := "9999" + low[4:]
	year := "pg_catalog.date_part('year', " + utc + ")::int4"
	if width > 1 {
		year = fmt.Sprintf("GREATEST(%[1]s - %[1]s %% %[2]d, 1)", year, width)
	}
	return fmt.Sprintf("CASE WHEN %s >= '%s' AND %s < '%s' THEN "+back+" END::%s", value, low, value, high, year, c.Spelled)
}

func isTime(c *Column) bool {
	return c.Type.Schema == "pg_catalog" && contains([]string{"date", "timestamp", "timestamptz"}, c.Type.Name)
}

func isNumber(c *Column) bool {
	return c.Type.Schema == "pg_catalog" && contains([]string{"int2", "int4", "int8", "numeric", "float4", "float8"}, c.Type.Name)
}

func textLike(c *Column) bool {
	return c.Type.Schema == "pg_catalog" && contains([]string{"text", "varchar", "bpchar"}, c.Type.Name)
}
