package grpc

import (
	"fmt"

	"google.golang.org/grpc/mem"
)

// frame is a message as its bytes.
type frame struct{ b []byte }

// codec gives messages on as they are.
type codec struct{}

func (codec) Name() string { return "proto" }

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	f, ok := v.(*frame)
	if !ok {
		return nil, fmt.Errorf("grpc: %T is not relayed", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(f.b)}, nil
}

func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	f, ok := v.(*frame)
	if !ok {
		return fmt.Errorf("grpc: %T is not relayed", v)
	}
	f.b = data.Materialize()
	return nil
}
