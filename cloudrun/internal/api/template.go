package api

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/amammay/otorun/cloudrun/internal/instance"
	"github.com/amammay/otorun/cloudrun/internal/platform"
	"github.com/amammay/otorun/cloudrun/internal/sandbox"
)

// A template is what of a revision's template changes what a container or its
// callers see. The rest is kept with the service and shown.
type template struct {
	Metadata struct {
		Name        string            `json:"name"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec struct {
		ContainerConcurrency int         `json:"containerConcurrency"`
		TimeoutSeconds       int         `json:"timeoutSeconds"`
		ServiceAccountName   string      `json:"serviceAccountName"`
		Containers           []container `json:"containers"`
		Volumes              []volume    `json:"volumes"`
	} `json:"spec"`
}

type container struct {
	Image      string   `json:"image"`
	Command    []string `json:"command"`
	Args       []string `json:"args"`
	WorkingDir string   `json:"workingDir"`
	Env        []envVar `json:"env"`
	Ports      []struct {
		Name          string `json:"name"`
		ContainerPort int    `json:"containerPort"`
	} `json:"ports"`
	StartupProbe   *probe `json:"startupProbe"`
	LivenessProbe  *probe `json:"livenessProbe"`
	ReadinessProbe *probe `json:"readinessProbe"`
	VolumeMounts   []struct {
		Name      string `json:"name"`
		MountPath string `json:"mountPath"`
		SubPath   string `json:"subPath"`
	} `json:"volumeMounts"`
	Resources struct {
		Limits map[string]any `json:"limits"`
	} `json:"resources"`
}

// An envVar is a variable of the environment: a value, or a version of a secret.
type envVar struct {
	Name      string `json:"name"`
	Value     string `json:"value"`
	ValueFrom *struct {
		SecretKeyRef *struct {
			Name string `json:"name"`
			Key  string `json:"key"`
		} `json:"secretKeyRef"`
	} `json:"valueFrom"`
}

type volume struct {
	Name   string `json:"name"`
	Secret *struct {
		SecretName  string `json:"secretName"`
		DefaultMode *int   `json:"defaultMode"`
		Items       []struct {
			Key  string `json:"key"`
			Path string `json:"path"`
			Mode *int   `json:"mode"`
		} `json:"items"`
	} `json:"secret"`
	EmptyDir *struct{} `json:"emptyDir"`
}

type probe struct {
	HTTPGet *struct {
		Path        string `json:"path"`
		Port        int    `json:"port"`
		HTTPHeaders []struct {
			Name  string `json:"name"`
			Value string `json:"value"`
		} `json:"httpHeaders"`
	} `json:"httpGet"`
	TCPSocket *struct {
		Port int `json:"port"`
	} `json:"tcpSocket"`
	GRPC *struct {
		Port    int    `json:"port"`
		Service string `json:"service"`
	} `json:"grpc"`
	InitialDelaySeconds int `json:"initialDelaySeconds"`
	PeriodSeconds       int `json:"periodSeconds"`
	TimeoutSeconds      int `json:"timeoutSeconds"`
	FailureThreshold    int `json:"failureThreshold"`
}

// Cloud Run's limits and defaults.
// https://docs.cloud.google.com/run/docs/reference/rest/v1/RevisionSpec
const (
	defaultPort        = 8080
	defaultConcurrency = 80
	defaultTimeout     = 300
	maxConcurrency     = 1000
	maxTimeout         = 3600
)

// setDefaults fills in what Cloud Run does, so that describe shows it. The template
// has to be one, see readTemplate, as far as types go.
func (s *Server) setDefaults(t object) {
	spec := child(t, "spec")
	number := func(n int) json.Number { return json.Number(strconv.Itoa(n)) }
	set := func(o object, key string, v any) {
		if plain(o[key]) == nil || fmt.Sprint(o[key]) == "0" {
			o[key] = v
		}
	}
	set(spec, "containerConcurrency", number(defaultConcurrency))
	set(spec, "timeoutSeconds", number(defaultTimeout))
	if text(spec, "serviceAccountName") == "" {
		spec["serviceAccountName"] = s.directory.EnsureDefaultAccount().Email
	}
	containers, _ := spec["containers"].([]any)
	if len(containers) != 1 {
		return
	}
	c, ok := containers[0].(object)
	if !ok {
		return
	}
	set(c, "ports", []any{object{"name": "http1", "containerPort": number(defaultPort)}})
	port := any(number(defaultPort))
	if ports, _ := c["ports"].([]any); len(ports) == 1 {
		if p, ok := ports[0].(object); ok {
			set(p, "name", "http1")
			set(p, "containerPort", number(defaultPort))
			port = p["containerPort"]
		}
	}
	set(c, "startupProbe", object{
		"tcpSocket": object{"port": port}, "timeoutSeconds": number(240), "periodSeconds": number(240), "failureThreshold": number(1),
	})
	limits := child(child(c, "resources"), "limits")
	set(limits, "cpu", "1000m")
	set(limits, "memory", "512Mi")
}

// readTemplate reads a template, and refuses what can't be and what the local
// platform can't do.
func readTemplate(o object) (*template, error) {
	t := new(template)
	if err := convert(o, t); err != nil {
		return nil, invalid("spec.template: %v", err)
	}
	const where = "spec.template.spec."
	if n := len(t.Spec.Containers); n == 0 {
		return nil, invalid(where + "containers is required")
	} else if n > 1 {
		return nil, unsupported("sidecars aren't emulated: %scontainers has %d", where, n)
	}
	if n := t.Spec.ContainerConcurrency; n < 0 || n > maxConcurrency {
		return nil, invalid(where+"containerConcurrency is %d, want 1 to %d", n, maxConcurrency)
	}
	if n := t.Spec.TimeoutSeconds; n < 0 || n > maxTimeout {
		return nil, invalid(where+"timeoutSeconds is %d, want 1 to %d", n, maxTimeout)
	}
	for key, value := range t.Metadata.Annotations {
		switch key {
		case "run.googleapis.com/cloudsql-instances", "run.googleapis.com/accelerator", "run.googleapis.com/mesh":
			return nil, unsupported("%s=%s isn't emulated", key, value)
		}
	}
	if _, _, err := t.instances(); err != nil {
		return nil, err
	}
	c := t.Spec.Containers[0]
	if c.Image == "" {
		return nil, invalid(where + "containers[0].image is required")
	}
	if len(c.Ports) > 1 {
		return nil, invalid("%scontainers[0].ports has %d, want at most one", where, len(c.Ports))
	}
	for _, p := range c.Ports {
		if p.Name != "http1" && p.Name != "h2c" {
			return nil, invalid(where+"containers[0].ports[0].name is %q, want http1 or h2c", p.Name)
		}
		if p.ContainerPort < 1 || p.ContainerPort > 65535 {
			return nil, invalid(where+"containers[0].ports[0].containerPort is %d, want 1 to 65535", p.ContainerPort)
		}
	}
	for _, e := range c.Env {
		switch e.Name {
		case "":
			return nil, invalid(where + "containers[0].env has one without a name")
		case "PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION":
			return nil, invalid(where+"containers[0].env: The following reserved env names were provided: %s. These values are automatically set by the system.", e.Name)
		}
		if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef == nil {
			return nil, unsupported(where+"containers[0].env[%s].valueFrom: only a secretKeyRef is", e.Name)
		}
	}
	if c.ReadinessProbe != nil {
		return nil, unsupported("readiness probes aren't emulated")
	}
	for name, p := range map[string]*probe{"startupProbe": c.StartupProbe, "livenessProbe": c.LivenessProbe} {
		if p == nil {
			continue
		}
		if name == "livenessProbe" && p.TCPSocket != nil {
			return nil, invalid("%scontainers[0].%s: a TCP probe is for the start alone", where, name)
		}
		if p.HTTPGet == nil && p.TCPSocket == nil && p.GRPC == nil {
			return nil, invalid("%scontainers[0].%s: one of httpGet, tcpSocket and grpc is required", where, name)
		}
		if p.PeriodSeconds < 0 || p.TimeoutSeconds < 0 || p.InitialDelaySeconds < 0 || p.FailureThreshold < 0 {
			return nil, invalid("%scontainers[0].%s has a number below zero", where, name)
		}
		if period := cmp.Or(p.PeriodSeconds, 10); p.TimeoutSeconds > period {
			return nil, invalid("%scontainers[0].%s.timeoutSeconds is %d, want at most periodSeconds, %d", where, name, p.TimeoutSeconds, period)
		}
	}
	for key := range c.Resources.Limits {
		if key != "cpu" && key != "memory" {
			return nil, unsupported("%scontainers[0].resources.limits[%s] isn't emulated", where, key)
		}
	}
	for _, v := range t.Spec.Volumes {
		if v.Secret == nil && v.EmptyDir == nil {
			return nil, unsupported("the volume %q isn't emulated: those of secrets and in memory are", v.Name)
		}
	}
	for _, m := range c.VolumeMounts {
		if !path.IsAbs(m.MountPath) || path.Clean(m.MountPath) == "/" {
			return nil, invalid("%scontainers[0].volumeMounts[%s].mountPath is %q, want an absolute path", where, m.Name, m.MountPath)
		}
		if m.SubPath != "" {
			return nil, unsupported("%scontainers[0].volumeMounts[%s].subPath isn't emulated", where, m.Name)
		}
		if !slices.ContainsFunc(t.Spec.Volumes, func(v volume) bool { return v.Name == m.Name }) {
			return nil, invalid("%scontainers[0].volumeMounts: there is no volume %q", where, m.Name)
		}
	}
	return t, nil
}

// instances returns the least and the most instances; 0 is the default.
func (t *template) instances() (least, most int, err error) {
	number := func(key string) int {
		value := t.Metadata.Annotations["autoscaling.knative.dev/"+key]
		if value == "" || err != nil {
			return 0
		}
		n, e := strconv.Atoi(value)
		if e != nil || n < 0 {
			err = invalid("annotation autoscaling.knative.dev/%s is %q, want a number", key, value)
		}
		return n
	}
	least, most = number("minScale"), number("maxScale")
	if err == nil && most > 0 && least > most {
		err = invalid("the minimum of instances, %d, is above the maximum, %d", least, most)
	}
	return least, most, err
}

// settingsOf reads what a service's metadata says to its front door.
func settingsOf(meta object) (platform.Settings, error) {
	var set platform.Settings
	annotations, _ := meta["annotations"].(object)
	get := func(key string) string { return text(annotations, "run.googleapis.com/"+key) }
	switch ingress := get("ingress"); ingress {
	case "", "all":
	case "internal", "internal-and-cloud-load-balancing":
		set.InternalOnly = true
	default:
		return set, invalid("annotation run.googleapis.com/ingress is %q, want all, internal or internal-and-cloud-load-balancing", ingress)
	}
	set.InvokerCheckDisabled = strings.EqualFold(get("invoker-iam-disabled"), "true")
	set.DefaultURLDisabled = strings.EqualFold(get("default-url-disabled"), "true")
	if custom := get("custom-audiences"); custom != "" {
		if err := json.Unmarshal([]byte(custom), &set.CustomAudiences); err != nil {
			return set, invalid("annotation run.googleapis.com/custom-audiences: %v", err)
		}
	}
	if strings.EqualFold(get("iap-enabled"), "true") {
		return set, unsupported("IAP isn't emulated")
	}
	if strings.EqualFold(get("scalingMode"), "manual") {
		return set, unsupported("manual scaling isn't emulated: --min-instances and --max-instances are")
	}
	return set, nil
}

// platform is the template as the platform runs it, of an image that is there.
func (s *Server) platformTemplate(t *template, image *Image) platform.Template {
	c := t.Spec.Containers[0]
	p := platform.Template{
		Concurrency: t.Spec.ContainerConcurrency,
		Timeout:     time.Duration(t.Spec.TimeoutSeconds) * time.Second,
		HTTP2:       len(c.Ports) > 0 && c.Ports[0].Name == "h2c",
		Container: instance.Spec{
			Args:    command(c, image),
			Env:     environment(c, image),
			Dir:     cmp.Or(c.WorkingDir, image.Dir),
			UID:     image.UID,
			GID:     image.GID,
			Root:    image.Root,
			Files:   slices.Clone(image.Files),
			Port:    defaultPort,
			Startup: c.StartupProbe.instance(10),
			Outside: s.Outside,
		},
	}
	if s.Firestore != "" {
		p.Container.Env = append(p.Container.Env, "FIRESTORE_EMULATOR_HOST="+s.Firestore)
	}
	p.MinInstances, p.MaxInstances, _ = t.instances()
	if len(c.Ports) > 0 {
		p.Container.Port = c.Ports[0].ContainerPort
	}
	if c.LivenessProbe != nil {
		liveness := c.LivenessProbe.instance(10)
		p.Container.Liveness = &liveness
	}
	p.Secrets = func() ([]string, []sandbox.File, error) { return s.fromSecrets(t, image) }
	return p
}

// command is the image's entry point and command, but for what is said instead: a
// command takes away the image's own arguments too.
func command(c container, image *Image) []string {
	entrypoint, args := image.Entrypoint, image.Cmd
	if len(c.Command) > 0 {
		entrypoint, args = c.Command, nil
	}
	if len(c.Args) > 0 {
		args = c.Args
	}
	return slices.Concat(entrypoint, args)
}

func environment(c container, image *Image) []string {
	var env []string
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			env = append(env, e.Name+"="+e.Value)
		}
	}
	named := func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return slices.ContainsFunc(c.Env, func(e envVar) bool { return e.Name == name })
	}
	return append(env, slices.DeleteFunc(slices.Clone(image.Env), named)...)
}

// fromSecrets reads what of a container's environment and files is secrets.
func (s *Server) fromSecrets(t *template, image *Image) (env []string, files []sandbox.File, err error) {
	c := t.Spec.Containers[0]
	read := func(secret, version string) ([]byte, error) {
		id, err := s.ownSecret(t, secret)
		if err != nil {
			return nil, err
		}
		return s.readSecret(t.Spec.ServiceAccountName, id, version)
	}
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			continue
		}
		value, err := read(e.ValueFrom.SecretKeyRef.Name, e.ValueFrom.SecretKeyRef.Key)
		if err != nil {
			return nil, nil, err
		}
		env = append(env, e.Name+"="+string(value))
	}
	for _, m := range c.VolumeMounts {
		for _, v := range t.Spec.Volumes {
			if v.Name != m.Name {
				continue
			}
			if v.EmptyDir != nil {
				files = append(files, sandbox.File{Path: m.MountPath, Mode: 0o777 | dirMode, UID: image.UID, GID: image.GID})
				continue
			}
			for _, item := range v.Secret.Items {
				data, err := read(v.Secret.SecretName, item.Key)
				if err != nil {
					return nil, nil, err
				}
				mode := 0o444
				if m := cmp.Or(item.Mode, v.Secret.DefaultMode); m != nil {
					mode = *m
				}
				files = append(files, sandbox.File{Path: path.Join(m.MountPath, item.Path), Data: data, Mode: fileMode(mode), UID: image.UID, GID: image.GID})
			}
		}
	}
	return env, files, nil
}

// ownSecret returns the id of a secret of this project: gcloud gives one that is
// named with its project an alias, which an annotation explains.
func (s *Server) ownSecret(t *template, name string) (string, error) {
	for alias := range strings.SplitSeq(t.Metadata.Annotations["run.googleapis.com/secrets"], ",") {
		short, full, ok := strings.Cut(strings.TrimSpace(alias), ":")
		if !ok || short != name {
			continue
		}
		for _, project := range []string{s.project, s.Platform.ProjectNumber} {
			if id, ok := strings.CutPrefix(full, "projects/"+project+"/secrets/"); ok {
				return id, nil
			}
		}
		return "", unsupported("%s is a secret of another project", full)
	}
	return name, nil
}

// instance is a probe as instances have it. Kubernetes' default of the period is
// 10 s, and Cloud Run's.
func (p *probe) instance(period int) instance.Probe {
	if p == nil {
		return instance.Probe{}
	}
	seconds := func(n int) time.Duration { return time.Duration(n) * time.Second }
	i := instance.Probe{
		Delay:    seconds(p.InitialDelaySeconds),
		Period:   seconds(cmp.Or(p.PeriodSeconds, period)),
		Timeout:  seconds(cmp.Or(p.TimeoutSeconds, 1)),
		Failures: cmp.Or(p.FailureThreshold, 3),
	}
	switch {
	case p.HTTPGet != nil:
		i.Path, i.Port = cmp.Or(p.HTTPGet.Path, "/"), p.HTTPGet.Port
		i.Header = make(http.Header)
		for _, h := range p.HTTPGet.HTTPHeaders {
			i.Header.Add(h.Name, h.Value)
		}
	case p.GRPC != nil:
		i.GRPC, i.Service, i.Port = true, p.GRPC.Service, p.GRPC.Port
	case p.TCPSocket != nil:
		i.Port = p.TCPSocket.Port
	}
	return i
}
