package postgres

import "testing"

// TestParameters: who signs in is told its own settings, however it spells their names.
func TestParameters(t *testing.T) {
	f := &Facts{ServerVersion: "15.1", DateStyle: "ISO, MDY", TimeZone: "UTC", IntervalStyle: "postgres"}
	told := map[string]string{}
	for _, p := range f.parameters(map[string]string{"datestyle": "SQL, DMY", "application_name": "x"}) {
		told[p[0]] = p[1]
	}
	if told["DateStyle"] != "SQL, DMY" || told["TimeZone"] != "UTC" || told["application_name"] != "x" || told["is_superuser"] != "off" {
		t.Error(told)
	}
}
