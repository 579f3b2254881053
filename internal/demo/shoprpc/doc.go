// Package shoprpc is the shop's gRPC API, made from shop.proto:
//
//	protoc --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative shop.proto
//
// It is for the demo and for tests; nothing of the product needs it.
package shoprpc
