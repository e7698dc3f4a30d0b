# One service with runsd around it: tacoclient, or tacoserver with
#
#	docker build --build-arg build_target=server .
#
# Build arguments:
#
#	build_target  the folder of this repository whose package is the service
#	user          who runs it: nonroot, or root for programs that find services
#	              by DNS, as runsd can take ports 53 and 80 only then
#	revision      the commit it is made from, for the label
#	GO_IMAGE      what it is built in: Go and a shell
#	BASE_IMAGE    what it runs on: CA certificates, /tmp, and a user nonroot
#
# buildah 1.28 and podman 4.3, which Debian 12 has, take a kept layer of the same
# program for another user or revision: give them --layers=false then.

ARG GO_IMAGE=docker.io/library/golang:1.26.8-bookworm
ARG BASE_IMAGE=gcr.io/distroless/static-debian12:nonroot

FROM --platform=$BUILDPLATFORM $GO_IMAGE AS build
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

FROM $BASE_IMAGE
COPY --from=build /out/ /
ARG BASE_IMAGE
ARG build_target=client
ARG revision=
LABEL org.opencontainers.image.title="taco$build_target" \
      org.opencontainers.image.source="https://github.com/amammay/otorun" \
      org.opencontainers.image.revision="$revision" \
      org.opencontainers.image.base.name="$BASE_IMAGE"
ARG user=nonroot
USER $user
ENTRYPOINT ["/runsd", "--", "/app"]
