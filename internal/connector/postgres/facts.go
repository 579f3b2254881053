package postgres

import "strings"

// Facts are what the database says of itself, for clients that ask when they sign in.
type Facts struct {
	ServerVersion  string
	ServerEncoding string
	DateStyle      string
	IntervalStyle  string
	TimeZone       string
}

// parameters are the ParameterStatus pairs of a session (PostgreSQL documentation, 55.2.7): the settings that
// the client gave (by their names in small letters), else the database's own.
func (f *Facts) parameters(given map[string]string) [][2]string {
	pick := func(name, own string) string {
		if v, ok := given[strings.ToLower(name)]; ok {
			return v
		}
		return own
	}
	return [][2]string{
		{"server_version", f.ServerVersion},
		{"server_encoding", f.ServerEncoding},
		{"client_encoding", "UTF8"},
		{"application_name", given["application_name"]},
		{"is_superuser", "off"},
		{"DateStyle", pick("DateStyle", f.DateStyle)},
		{"IntervalStyle", pick("IntervalStyle", f.IntervalStyle)},
		{"TimeZone", pick("TimeZone", f.TimeZone)},
		{"integer_datetimes", "on"},
		{"standard_conforming_strings", "on"},
	}
}
