// Package tacopb is EatTaco in protobuf, as the peers' generators make it of
// taco.proto, which are tools of this module. After a change, or for newer
// releases of the peers:
//
//	go get google.golang.org/grpc@latest connectrpc.com/connect/v2@latest github.com/twitchtv/twirp@latest \
//		google.golang.org/protobuf@latest google.golang.org/grpc/cmd/protoc-gen-go-grpc@latest
//	go generate ./internal/tacopb
package tacopb

//go:generate go run ./generate
