#!/usr/bin/env bash
# Builds tacoserver and tacoclient and deploys them to Cloud Run.   cloudhash=dpyb4duzqq ./buildanddeploy.sh
#
# It needs gcloud, logged in, with a project and a region, and docker. It may be
# run again at any time: what exists stays, the services get a new revision.
#
#   cloudhash      the hash in your run.app URLs; without it runsd uses the URLs
#                  that have the project's number in place of a hash
#   REGION         where to deploy (default: gcloud's run/region)
#   CLIENT_ACCESS  who may call tacoclient: private (default) or public
#
# tacoserver is private: only tacoclient's service account may call it.
set -euo pipefail
cd "$(dirname "$0")"

die() {
	echo "buildanddeploy: $*" >&2
	exit 1
}

# reason prints the line of the last command's output that says what went wrong.
reason() {
	local line
	line=$(grep -m 1 '^ERROR' "$log" || grep -v '^[[:space:]]*$' "$log" | tail -n 1 || true)
	printf '%s' "${line:-no output}"
}

# try WHAT COMMAND... says what it does and does it, quietly, or ends the script
# with one line.
try() {
	local what=$1
	shift
	echo "$what"
	"$@" >"$log" 2>&1 </dev/null || die "$what: $(reason) (all of it: $log)"
}

# try_new is try for what uses a service account that may just have been made:
# for some seconds not all of Google Cloud knows it.
try_new() {
	local what=$1 n
	shift
	echo "$what"
	for n in 1 2 3 4; do
		if "$@" >"$log" 2>&1 </dev/null; then
			return
		fi
		if [ "$n" = 4 ] || ! grep -Eqi 'service ?account' "$log"; then
			die "$what: $(reason) (all of it: $log)"
		fi
		sleep 5
	done
}

# setting NAME prints gcloud's setting, or nothing.
setting() {
	gcloud config get-value "$1" 2>/dev/null </dev/null | grep -v '^(unset)$' || true
}

case ${cloudhash-} in
'') hash_flag=--remove-env-vars=CLOUD_RUN_PROJECT_HASH ;;
*[!a-z0-9]*) die "cloudhash=$cloudhash is no hash: take the ten letters and digits before the region in a URL like https://tacoserver-dpyb4duzqq-uc.a.run.app" ;;
*) hash_flag=--update-env-vars=CLOUD_RUN_PROJECT_HASH=$cloudhash ;;
esac
case ${CLIENT_ACCESS:-private} in
private) client_flag=--no-allow-unauthenticated ;;
public) client_flag=--allow-unauthenticated ;;
*) die "CLIENT_ACCESS=$CLIENT_ACCESS: set it to private or public" ;;
esac
for command in gcloud docker; do
	command -v "$command" >/dev/null || die "$command is not installed"
done
project=$(setting project)
[ -n "$project" ] || die "no project: gcloud config set project PROJECT"
region=${REGION:-$(setting run/region)}
[ -n "$region" ] || die "no region: gcloud config set run/region us-central1, or set REGION"
registry=$region-docker.pkg.dev
images=$registry/$project/otorun
version=$(date -u +%Y%m%d-%H%M%S)
log=$(mktemp "${TMPDIR:-/tmp}/buildanddeploy.XXXXXX") # what the last command said

# account NAME prints the address of the service account.
account() { echo "$1@$project.iam.gserviceaccount.com"; }

# ensure_account NAME makes a service account, without any role in the project.
ensure_account() {
	gcloud iam service-accounts describe "$(account "$1")" --project="$project" >/dev/null 2>&1 </dev/null ||
		try "make service account $1" gcloud iam service-accounts create "$1" --display-name="otorun $1" --project="$project"
}

# image FOLDER SERVICE builds and pushes the service's image.
image() {
	try "build $2" docker build --platform=linux/amd64 --build-arg="build_target=$1" --tag="$images/$2:$version" .
	try "push $2" docker push "$images/$2:$version"
}

# deploy SERVICE FLAG makes a new revision of the service and sends all to it.
deploy() {
	try_new "deploy $1" gcloud run deploy "$1" --image="$images/$1:$version" --service-account="$(account "$1")" \
		"$2" "$hash_flag" --region="$region" --project="$project" --quiet
}

try "enable the APIs" gcloud services enable run.googleapis.com artifactregistry.googleapis.com iam.googleapis.com --project="$project"
ensure_account tacoserver
ensure_account tacoclient
gcloud artifacts repositories describe otorun --location="$region" --project="$project" >/dev/null 2>&1 </dev/null ||
	try "make the image repository" gcloud artifacts repositories create otorun --repository-format=docker --location="$region" --project="$project"
try "let docker push to $registry" gcloud auth configure-docker "$registry" --quiet
image server tacoserver
image client tacoclient

deploy tacoserver --no-allow-unauthenticated
# gcloud only warns when it could not change who may call a service.
try "read who may call tacoserver" gcloud run services get-iam-policy tacoserver --region="$region" --project="$project" --format=json
if grep -Eq '"all(Authenticated)?Users"' "$log"; then
	rm -f "$log"
	die "tacoserver is open to everybody: gcloud run services get-iam-policy tacoserver --region=$region shows the binding to remove"
fi
try_new "let tacoclient call tacoserver" gcloud run services add-iam-policy-binding tacoserver --region="$region" --project="$project" \
	--member="serviceAccount:$(account tacoclient)" --role=roles/run.invoker
deploy tacoclient "$client_flag"

url=$(gcloud run services describe tacoclient --region="$region" --project="$project" --format='value(status.url)' 2>"$log" </dev/null) ||
	die "read tacoclient's URL: $(reason)"
rm -f "$log"
[ -n "$url" ] || die "tacoclient has no URL: see gcloud run services describe tacoclient --region=$region"
echo
if [ "$client_flag" = --allow-unauthenticated ]; then
	echo "curl $url"
else
	# shellcheck disable=SC2016 # the reader's shell is to run gcloud, not this one
	printf 'curl -H "Authorization: Bearer $(gcloud auth print-identity-token)" %s\n' "$url"
fi
