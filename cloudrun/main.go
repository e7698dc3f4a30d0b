// Cloudrun is a Cloud Run on this machine.
//
//	go run ./cloudrun [up] [-addr 127.0.0.1:PORT] [-empty] [-watch] [-firestore] [-state DIR] [-door HOST:PORT] [-project P] [-region R]
//	go run ./cloudrun token [-audience A] [-as EMAIL]
//	go run ./cloudrun env
//	go run ./cloudrun why [-as EMAIL] SERVICE
//
// up, which is meant if nothing is said, builds runsd, tacoserver and tacoclient,
// runs them as two private services, each with a service account of its own, and
// prints where they are, one line to paste, and then their logs. tacoclient's
// account may invoke tacoserver, the developer may invoke tacoclient, and nobody
// else anything. With -empty nothing is built or deployed. Ctrl-C ends all of it,
// but for what -state keeps. With -firestore the instances keep what is eaten in a
// Firestore emulator, which has it in memory until all ends.
//
// The platform answers the real gcloud, and docker push:
//
//	eval "$(go run ./cloudrun env)"
//	./buildanddeploy.sh
//
// The other commands ask the platform that runs in another terminal: for an
// identity token, for the settings that point gcloud, curl and other programs at
// it, and why a call would be let in or not. Where several run, -addr says which.
//
// What is emulated and how sure that is stands in FIDELITY.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/amammay/otorun/cloudrun/internal/control"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

const usage = `usage:
  cloudrun [up] [-addr HOST:PORT] [-empty] [-watch] [-firestore] [-state DIR] [-door HOST:PORT] [-project ID] [-region REGION]
  cloudrun token [-audience URL] [-as EMAIL]   an identity token of the running platform
  cloudrun env                                 settings that point gcloud, curl and others at it: eval "$(go run ./cloudrun env)"
  cloudrun why [-as EMAIL] SERVICE             would this call be let in, and if not, what mends it

`

// errUsage says that the command was called wrongly.
var errUsage = errors.New("wrong usage: cloudrun -h shows the right one")

// run does what args ask for and returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	name := "up"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	commands := map[string]func(context.Context, *flag.FlagSet, []string, io.Writer, io.Writer) error{
		"up": runUp, "token": runToken, "env": runEnv, "why": runWhy,
	}
	command, ok := commands[name]
	if !ok {
		fmt.Fprintf(stderr, "cloudrun: there is no command %q\n%s", name, usage)
		return 2
	}
	flags := flag.NewFlagSet("cloudrun "+name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	err := command(ctx, flags, args, stdout, stderr)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, flag.ErrHelp):
		io.WriteString(stdout, usage)
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return 0
	}
	fmt.Fprintln(stderr, "cloudrun:", err)
	if errors.Is(err, errUsage) {
		return 2
	}
	return 1
}

// parse reads the flags; a fault of them is wrong usage.
func parse(flags *flag.FlagSet, args []string, positional int) error {
	err := flags.Parse(args)
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
	default:
		return fmt.Errorf("%w: %w", err, errUsage)
	}
	if err == nil && flags.NArg() != positional {
		return fmt.Errorf("%d arguments, want %d: %w", flags.NArg(), positional, errUsage)
	}
	return err
}

// find returns the platform that the flag -addr, or the environment, means.
func find(flags *flag.FlagSet, args []string, positional int) (control.Run, error) {
	addr := flags.String("addr", os.Getenv("CLOUDRUN_ADDR"), "`address` of the platform, if several run (env CLOUDRUN_ADDR)")
	if err := parse(flags, args, positional); err != nil {
		return control.Run{}, err
	}
	return control.Find(*addr)
}

func runToken(ctx context.Context, flags *flag.FlagSet, args []string, stdout, _ io.Writer) error {
	audience := flags.String("audience", "", "`URL` of the service that the token is for; without it, a user's token is as gcloud's: for all services")
	as := flags.String("as", "", "`email` of whose token it is (default: the developer)")
	run, err := find(flags, args, 0)
	if err != nil {
		return err
	}
	if *as == "" {
		*as = run.Developer
	}
	token, err := run.Token(ctx, *as, *audience)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, token)
	return err
}

func runEnv(_ context.Context, flags *flag.FlagSet, args []string, stdout, _ io.Writer) error {
	run, err := find(flags, args, 0)
	if err != nil {
		return err
	}
	var text strings.Builder
	set := make(map[string]bool)
	for _, pair := range settings(run) {
		set[pair[0]] = true
		fmt.Fprintf(&text, "export %s=%s\n", pair[0], quote(pair[1]))
	}
	// What the shell says to gcloud otherwise could lead it past the platform, or
	// make it someone else.
	for _, name := range others(os.Environ()) {
		if !set[name] {
			fmt.Fprintf(&text, "unset %s\n", name)
		}
	}
	_, err = io.WriteString(stdout, text.String())
	return err
}

// others returns the names of settings of gcloud's, in an environment, but for
// those that say how gcloud itself is started.
func others(environ []string) []string {
	var names []string
	for _, pair := range environ {
		name, _, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, "CLOUDSDK_") && !strings.HasPrefix(name, "CLOUDSDK_PYTHON") && name != "CLOUDSDK_ROOT_DIR" {
			names = append(names, name)
		}
	}
	return names
}

// settings are what makes a shell's programs use a platform.
func settings(run control.Run) [][2]string {
	proxy, local := "http://"+run.Addr, "localhost,127.0.0.1,::1"
	return [][2]string{
		{"CLOUDRUN_ADDR", run.Addr},
		{"HTTPS_PROXY", proxy}, {"https_proxy", proxy}, {"HTTP_PROXY", proxy}, {"http_proxy", proxy},
		{"NO_PROXY", local}, {"no_proxy", local},
		// curl, Go, Python, Node: each has a name of its own for the certificates.
		{"CURL_CA_BUNDLE", run.CABundle}, {"SSL_CERT_FILE", run.CABundle},
		{"REQUESTS_CA_BUNDLE", run.CABundle}, {"NODE_EXTRA_CA_CERTS", run.CA},
		{"CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", run.CABundle},
		// gcloud is the developer, and never asks for a region or a yes.
		{"CLOUDSDK_CONFIG", run.Gcloud}, {"CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE", run.Credentials},
		{"CLOUDSDK_CORE_ACCOUNT", run.Developer}, {"CLOUDSDK_CORE_PROJECT", run.Project}, {"CLOUDSDK_RUN_REGION", run.Region},
		{"CLOUDSDK_ARTIFACTS_LOCATION", run.Region},
		{"CLOUDSDK_CORE_DISABLE_PROMPTS", "1"}, {"CLOUDSDK_CORE_CHECK_GCE_METADATA", "false"},
		{"CLOUDSDK_CORE_DISABLE_USAGE_REPORTING", "true"}, {"CLOUDSDK_SURVEY_DISABLE_PROMPTS", "true"},
		{"CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK", "true"},
		{"DOCKER_CONFIG", run.Docker},
		// Google's libraries are the developer too, and not who else is logged in.
		{"GOOGLE_APPLICATION_CREDENTIALS", run.Credentials},
		{"GOOGLE_CLOUD_PROJECT", run.Project},
	}
}

// quote makes a word of the shell of s.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func runWhy(ctx context.Context, flags *flag.FlagSet, args []string, stdout, _ io.Writer) error {
	as := flags.String("as", "", "`email` of the caller (default: the developer; - for a caller without a token)")
	run, err := find(flags, args, 1)
	if err != nil {
		return err
	}
	switch *as {
	case "":
		*as = run.Developer
	case "-":
		*as = ""
	}
	decision, err := run.Why(ctx, *as, flags.Arg(0))
	if err != nil {
		return err
	}
	if decision.Allowed {
		_, err = fmt.Fprintln(stdout, "yes:", decision.Why)
		return err
	}
	if _, err := fmt.Fprintf(stdout, "no: %s\nto mend it: %s\n", decision.Why, decision.Fix); err != nil {
		return err
	}
	return errRefused
}

// errRefused makes why's exit status say what it printed.
var errRefused = errors.New("the call would be refused")
