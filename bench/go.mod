module github.com/amammay/otorun/bench

go 1.26.0

replace (
	github.com/amammay/otorun => ../
	github.com/pacedotdev/oto => ../oto
)

require (
	connectrpc.com/connect/v2 v2.0.2
	github.com/amammay/otorun v0.0.0
	github.com/bufbuild/protocompile v0.14.1
	github.com/pacedotdev/oto v0.17.0
	github.com/twitchtv/twirp v8.1.3+incompatible
	google.golang.org/grpc v1.85.0
	google.golang.org/protobuf v1.36.12
)

require (
	github.com/fsnotify/fsnotify v1.10.1 // indirect
	github.com/klauspost/compress v1.20.4 // indirect
	github.com/pkg/errors v0.9.1 // indirect
	golang.org/x/net v0.62.0 // indirect
	golang.org/x/sync v0.25.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.43.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20261026165753-2ffab32bce7e // indirect
	google.golang.org/grpc/cmd/protoc-gen-go-grpc v1.6.2 // indirect
)

tool (
	connectrpc.com/connect/v2/cmd/protoc-gen-connect-go
	github.com/twitchtv/twirp/protoc-gen-twirp
	google.golang.org/grpc/cmd/protoc-gen-go-grpc
	google.golang.org/protobuf/cmd/protoc-gen-go
)
