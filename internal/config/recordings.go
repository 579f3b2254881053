package config

import (
	"reflect"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"gatehouse/internal/config/strict"
	"gatehouse/internal/ship"
	"gatehouse/internal/stream"
)

// Recordings say where recordings are kept, and where copies of them go. file:FOLDER is short for {keep: file:FOLDER}.
type Recordings struct {
	// Keep is file:FOLDER.
	Keep string `yaml:"keep"`
	// Ship are the places that ended segments are copied to.
	Ship []ship.Target `yaml:"ship"`
	// Streams are where events go as they are recorded.
	Streams []stream.Target `yaml:"streams"`
	// Retention is how long recordings are kept, of connections that do not say it themselves; 0: for ever.
	Retention ship.Days `yaml:"retention"`
	// SegmentAge is how old a segment gets before it ends and is shipped.
	SegmentAge Duration `yaml:"segment_age"`
}

// shipAge is how old a segment gets where they are shipped and nothing else is said.
const shipAge = 10 * time.Minute

// UnmarshalYAML reads file:FOLDER, or a mapping.
func (r *Recordings) UnmarshalYAML(n *yaml.Node) error {
	switch n.Kind {
	case yaml.ScalarNode:
		r.Keep = n.Value
		return nil
	case yaml.MappingNode:
		type plain Recordings
		if err := strict.Decode(n, (*plain)(r)); err != nil {
			return err
		}
		if r.Keep == "" {
			return strict.Errorf(n, "recordings.keep is missing: add `keep: file:recordings`")
		}
		return nil
	}
	return strict.Errorf(n, "recordings should be file:FOLDER, or {keep: file:FOLDER, ship: [{name: NAME, to: PLACE}]}")
}

// Age is how old a segment gets; 0: that does not matter.
func (r *Recordings) Age() time.Duration {
	if r.SegmentAge == 0 && len(r.Ship) > 0 {
		return shipAge
	}
	return time.Duration(r.SegmentAge)
}

func (r *Recordings) resolve(abs func(string) string) {
	r.Keep = "file:" + abs(strings.TrimPrefix(r.Keep, "file:"))
	resolveSecrets(reflect.ValueOf(r), abs)
	for i := range r.Ship {
		r.Ship[i].Resolve(abs)
	}
	for i := range r.Streams {
		r.Streams[i].Resolve(abs)
	}
}

func (c *Config) checkRecordings(n *yaml.Node) error {
	r := &c.Recordings
	at := func(path ...any) *yaml.Node { return strict.Find(n, append([]any{"recordings"}, path...)...) }
	if path, ok := strings.CutPrefix(r.Keep, "file:"); !ok || path == "" {
		if strings.HasPrefix(r.Keep, "s3:") {
			return strict.Errorf(at("keep"), "recordings are kept in a folder and shipped to a bucket: use {keep: file:FOLDER, ship: [{name: NAME, to: %q}]}", r.Keep)
		}
		return strict.Errorf(at("keep"), "recordings: %q should be file:FOLDER", r.Keep)
	}
	seen := map[string]bool{}
	for i := range r.Ship {
		t := &r.Ship[i]
		if err := t.Check(); err != nil {
			return strict.Errorf(at("ship", i), "recordings.ship[%d] (%s): %v", i, t.Name, err)
		}
		if seen[t.Name] || seen[t.To] {
			return strict.Errorf(at("ship", i), "recordings.ship[%d] (%s): that name or place is taken: rename one", i, t.Name)
		}
		if t.To == r.Keep {
			return strict.Errorf(at("ship", i), "recordings.ship[%d] (%s): that is the folder that they are kept in: name another one", i, t.Name)
		}
		seen[t.Name], seen[t.To] = true, true
	}
	clear(seen)
	for i := range r.Streams {
		t := &r.Streams[i]
		if err := t.Check(); err != nil {
			return strict.Errorf(at("streams", i), "recordings.streams[%d] (%s): %v", i, t.Name, err)
		}
		if seen[t.Name] || seen[t.To] && t.Kind == "jsonl" {
			return strict.Errorf(at("streams", i), "recordings.streams[%d] (%s): that name or place is taken: rename one", i, t.Name)
		}
		seen[t.Name], seen[t.To] = true, true
	}
	return nil
}

// Retention is how long the recordings of a connection are kept; 0: for ever.
func (c *Config) Retention(connection string) time.Duration {
	for _, one := range c.Connections {
		if one.Name == connection && one.Retention > 0 {
			return time.Duration(one.Retention)
		}
	}
	return time.Duration(c.Recordings.Retention)
}
