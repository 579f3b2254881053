package postgres

import (
	"strconv"
	"strings"
	"time"
)

// milliseconds reads the value of a setting whose unit is a millisecond, such as statement_timeout: "5s", "1500", "2min"
// (PostgreSQL documentation, 20.1.1). What cannot be read is 0, as no limit is.
func milliseconds(value string) time.Duration {
	s := strings.TrimSpace(strings.Trim(strings.TrimSpace(value), "'"))
	at := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	unit := "ms"
	if at >= 0 {
		s, unit = s[:at], strings.TrimSpace(s[at:])
	}
	n, err := strconv.ParseFloat(s, 64)
	units := map[string]time.Duration{"us": time.Microsecond, "ms": time.Millisecond, "s": time.Second, "min": time.Minute, "h": time.Hour, "d": 24 * time.Hour}
	if err != nil || units[unit] == 0 || n < 0 || n > float64(1<<31) {
		return 0
	}
	return time.Duration(n * float64(units[unit]))
}
