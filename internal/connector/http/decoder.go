package http

import (
	"encoding/json"
	"fmt"

	"gatehouse/internal/gate"
)

// decoder reads recorded answers: one column, whose rows are the lines of the body as the client saw it.
type decoder struct{}

// Schema reads an answer's header.
func (decoder) Schema(data []byte) ([]gate.ResultColumn, error) {
	var s answerHead
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, err
	}
	return []gate.ResultColumn{{Name: fmt.Sprintf("HTTP %d %s", s.Status, s.Header["Content-Type"])}}, nil
}

// Values is the part of the body.
func (decoder) Values(data []byte, each func([]byte)) { each(data) }

// Rows are the parts of the body.
func (decoder) Rows(_ []gate.ResultColumn, data []byte, limit int) ([][]*string, error) {
	if len(data) == 0 || limit < 1 {
		return nil, nil
	}
	text := string(data)
	return [][]*string{{&text}}, nil
}
