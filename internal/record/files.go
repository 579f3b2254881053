package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// SegmentFile is a segment of a folder as a file.
type SegmentFile struct {
	Number uint64
	Path   string
	// Ended says that nothing is written to it any more.
	Ended bool
}

// Name is the file's name.
func (s SegmentFile) Name() string { return filepath.Base(s.Path) }

// Segments are those of a folder, in order.
func Segments(dir string) ([]SegmentFile, error) {
	list, err := segments(dir)
	if err != nil {
		return nil, err
	}
	out := make([]SegmentFile, len(list))
	for i, s := range list {
		out[i] = SegmentFile{s.seq, s.path, !s.last}
	}
	return out, nil
}

// NextSegment is the first segment of a folder from a number on. It costs the same however many there are.
func NextSegment(dir string, from uint64) (SegmentFile, error) {
	exists := func(n uint64) bool { _, err := os.Stat(segmentPath(dir, n)); return err == nil }
	if exists(from) && exists(from+1) {
		return SegmentFile{from, segmentPath(dir, from), true}, nil
	}
	list, err := Segments(dir)
	if err != nil {
		return SegmentFile{}, err
	}
	for _, s := range list {
		if s.Number >= from {
			return s, nil
		}
	}
	return SegmentFile{}, fmt.Errorf("there is no segment %d in %s, and none after it", from, dir)
}

// maxHeads bounds how much of heads.jsonl is read at once, in bytes.
const maxHeads = 1 << 20

// HeadsName is what a part of heads.jsonl is called that begins at an offset, where it was shipped.
func HeadsName(offset int64) string { return fmt.Sprintf("heads-%016d.jsonl", offset) }

// HeadsAfter gives whole lines of heads.jsonl from an offset on, those of heads that were signed while a segment up to the
// given one was written; none where there are none.
func HeadsAfter(dir string, offset int64, segment uint64) ([]byte, error) {
	f, err := os.Open(filepath.Join(dir, headsName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, offset, maxHeads))
	if err != nil {
		return nil, err
	}
	n := 0
	for {
		line, _, whole := bytes.Cut(b[n:], []byte("\n"))
		if !whole {
			return b[:n], nil
		}
		var h Head
		if err := json.Unmarshal(line, &h); err != nil {
			return nil, fmt.Errorf("%s, byte %d: %w", headsName, offset+int64(n), err)
		}
		if h.Segment > segment {
			return b[:n], nil
		}
		n += len(line) + 1
	}
}

// shippedHeads reads the heads of a folder that was shipped, from its parts. wrong says what is missing of them.
func shippedHeads(dir string) (out []Head, wrong []string, err error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	var end int64
	for _, one := range list { // in the order of their names
		var offset int64
		if !strings.HasPrefix(one.Name(), "heads-") {
			continue
		}
		if _, err := fmt.Sscanf(one.Name(), "heads-%d.jsonl", &offset); err != nil || one.Name() != HeadsName(offset) {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, one.Name()))
		if err != nil {
			return nil, nil, err
		}
		if offset != end {
			wrong = append(wrong, fmt.Sprintf("%s: the signed heads before it are missing: it begins at byte %d, and %d bytes were before", one.Name(), offset, end))
		}
		heads, err := parseHeads(b)
		if err != nil || !bytes.HasSuffix(b, []byte("\n")) {
			wrong = append(wrong, fmt.Sprintf("%s: it is not whole", one.Name()))
		}
		out, end = append(out, heads...), offset+int64(len(b))
	}
	return out, wrong, nil
}

// Closes says whether the entry is the last of its session; it can be told of one that was erased, too.
func (e Entry) Closes() bool { return e.flags&flagNode != 0 && e.Number > 1 }
