# One service with runsd around it: tacoclient, or tacoserver with
#
#	docker build --build-arg build_target=server .
#
# build_target is a folder of this repository whose package is a command.

FROM --platform=$BUILDPLATFORM golang:1.26.8-bookworm AS build
WORKDIR /src

# The modules have a layer of their own, which stays while only code changes.
COPY go.mod go.sum ./
COPY oto/go.mod oto/go.sum oto/
RUN --mount=type=cache,target=/go/pkg/mod \
    go mod download

COPY . .
ARG TARGETOS
ARG TARGETARCH
ENV CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH
# runsd first: it is the same in both images.
RUN --mount=type=cache,target=/go/pkg/mod \
    --mount=type=cache,target=/root/.cache/go-build \
    go build -trimpath -ldflags="-s -w" -o /out/runsd ./runsd
ARG build_target=client
RUN --mount=type=cache,target=/go/pkg/mod \
    --mount=type=cache,target=/root/.cache/go-build \
    go build -trimpath -ldflags="-s -w" -o /out/app "./$build_target"

# CA certificates, /tmp and a user without rights; no shell.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/ /
ENTRYPOINT ["/runsd", "--", "/app"]
