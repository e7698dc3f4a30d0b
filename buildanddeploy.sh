#!/usr/bin/env bash
# Builds tacoserver and tacoclient and deploys them to Cloud Run.   cloudhash=dpyb4duzqq ./buildanddeploy.sh
# Takes down what that made.                                       ./buildanddeploy.sh teardown
#
# It needs gcloud, logged in, with a project and a region, and nothing that was
# made before. It may be run again at any time: what exists stays, the services
# get a new revision.
#
#   cloudhash        the hash in your run.app URLs; without it runsd uses the URLs
#                    that have the project's number in place of a hash
#   REGION           where to deploy (default: gcloud's run/region)
#   CLIENT_ACCESS    who may call tacoclient: private (default) or public
#   TACO_STORE       what keeps what is eaten: bbolt, in each instance and gone with
#                    it, or firestore (default: as it was deployed before; bbolt)
#   FIRESTORE_LOCATION   where the database is made, if there is none (default: the
#                    region)
#   BUILDER          what builds the images: docker, podman, buildah, or cloudbuild,
#                    which is Google's (default: the first of them that is here)
#   GO_IMAGE, BASE_IMAGE   what the images are built in and run on, if not what
#                    the Dockerfile says
#   CLOUDRUN_ADDR    set by "cloudrun env": docker pushes there, as its daemon sees
#                    no shell's proxy
#   PATIENCE         seconds to wait until changes of IAM count everywhere (300)
#
# tacoserver is private: only tacoclient's service account may call it. tacoclient,
# if it is private, lets in who may call all of the project's services, and you.
set -euo pipefail
cd "$(dirname "$0")"
export CLOUDSDK_CORE_DISABLE_PROMPTS=1

# Teardown removes what has this mark, and nothing else.
mark="made by otorun's buildanddeploy.sh"
label=otorun=buildanddeploy

die() {
	echo "buildanddeploy: $*" >&2
	exit 1
}

# said prints the line of the last command's output that says what went wrong.
said() {
	local line
	line=$(grep -m 1 '^ERROR' "$log" || grep -v '^[[:space:]]*$' "$log" | tail -n 1 || true)
	printf '%s' "${line:-no output}"
}

# way_out ROLE prints what to do about the last command's failure, if it is known.
# ROLE is what the caller may lack.
way_out() {
	if grep -Eqi 'do(es)? not currently have an active account|gcloud auth login|reauth' "$log"; then
		echo "log in: gcloud auth login"
	elif grep -Eqi 'SERVICE_DISABLED|has not been used in project|API .*(is not enabled|is disabled)|it is disabled' "$log"; then
		echo "an API is not enabled yet: wait a minute and run this again"
	elif grep -Eqi 'billing' "$log"; then
		echo "give the project a billing account: https://console.cloud.google.com/billing/linkedaccount?project=$project"
	elif grep -Eqi 'PERMISSION_DENIED|permission|forbidden|denied|unauthorized' "$log"; then
		echo "have an owner of $project give you $1"
	else
		echo "all of it: $log"
		keep_log=1
	fi
}

# try WHAT ROLE COMMAND... says what it does and does it, quietly, or ends the
# script with one line.
try() {
	local what=$1 role=$2
	shift 2
	echo "$what"
	"$@" >"$log" 2>&1 </dev/null || fail "$what" "$role"
}

fail() {
	way_out "$2" >"$dir/way" # not in a subshell: it decides on the log
	die "$1: $(said) ($(cat "$dir/way"))"
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
		if [ "$n" = 4 ] || ! grep -Eqi 'service ?account .*(does not exist|not found)' "$log"; then
			return 1
		fi
		sleep 5
	done
}

# there WHAT COMMAND... says whether what a describe command shows is there, or ends
# the script if it can't be told.
there() {
	local what=$1
	shift
	if "$@" >"$log" 2>&1 </dev/null; then
		return 0
	fi
	if grep -Eqi 'NOT_FOUND|not found|could not be found|cannot find|SERVICE_DISABLED|has not been used' "$log"; then
		return 1
	fi
	fail "look for $what" roles/viewer
}

# make WHAT ROLE COMMAND... is try for a thing that may be there by now.
make() {
	local what=$1 role=$2
	shift 2
	echo "make $what"
	"$@" >"$log" 2>&1 </dev/null || grep -Eqi 'ALREADY_EXISTS|already exists|subject of a conflict' "$log" || fail "make $what" "$role"
}

# setting NAME prints gcloud's setting, or nothing.
setting() {
	gcloud config get-value "$1" 2>/dev/null </dev/null | grep -v '^(unset)$' || true
}

# builder prints the first builder that is here.
builder() {
	local b
	if command -v docker >/dev/null && docker info >/dev/null 2>&1 </dev/null; then
		echo docker
		return
	fi
	for b in podman buildah; do
		if command -v "$b" >/dev/null; then
			echo "$b"
			return
		fi
	done
	echo cloudbuild
}

# account NAME prints the address of the service account.
account() { echo "$1@$project.iam.gserviceaccount.com"; }

# ensure_account NAME makes a service account, without any role in the project.
ensure_account() {
	there "service account $1" gcloud iam service-accounts describe "$(account "$1")" --project="$project" ||
		make "service account $1" roles/iam.serviceAccountAdmin \
			gcloud iam service-accounts create "$1" --display-name="otorun $1" --description="$mark" --project="$project"
}

ensure_repository() {
	there "the image repository" gcloud artifacts repositories describe otorun --location="$region" --project="$project" ||
		make "the image repository" roles/artifactregistry.admin \
			gcloud artifacts repositories create otorun --repository-format=docker --description="$mark" --location="$region" --project="$project"
}

# ensure_database makes the project's Firestore database, if there is none, and lets
# tacoserver's account use it.
ensure_database() {
	if there "the Firestore database" gcloud firestore databases describe --database='(default)' --project="$project" --format='value(type)'; then
		! grep -q DATASTORE_MODE "$log" ||
			die "the Firestore database of $project is in Datastore mode, which tacoserver can't use: choose another project"
	else
		make "the Firestore database" roles/datastore.owner \
			gcloud firestore databases create --database='(default)' --type=firestore-native --location="${FIRESTORE_LOCATION:-$region}" --project="$project"
	fi
	try_new "let tacoserver use Firestore" gcloud projects add-iam-policy-binding "$project" \
		--member="serviceAccount:$(account tacoserver)" --role=roles/datastore.user --condition=None ||
		fail "let tacoserver use Firestore" roles/resourcemanager.projectIamAdmin
}

# leave_database takes the database from tacoserver's account, if this script has
# made that and given it.
leave_database() {
	if ! there "service account tacoserver" gcloud iam service-accounts describe "$(account tacoserver)" --project="$project" --format='value(description)' ||
		! grep -qxF "$mark" "$log"; then
		return
	fi
	gcloud projects get-iam-policy "$project" --flatten='bindings[].members' --format='value(bindings.role,bindings.members)' >"$log" 2>&1 </dev/null ||
		fail "read who may do what in $project" roles/viewer
	if grep -qF "roles/datastore.user	serviceAccount:$(account tacoserver)" "$log"; then
		try "take Firestore from tacoserver" roles/resourcemanager.projectIamAdmin gcloud projects remove-iam-policy-binding "$project" \
			--member="serviceAccount:$(account tacoserver)" --role=roles/datastore.user --condition=None
		echo "The Firestore database stays, with what is in it."
	fi
}

# environment SERVICE sets variables to the flags that set the service's.
environment() {
	local set=() unset=()
	if [ -n "${cloudhash-}" ]; then
		set+=("CLOUD_RUN_PROJECT_HASH=$cloudhash")
	else
		unset+=(CLOUD_RUN_PROJECT_HASH)
	fi
	case $1:${TACO_STORE-} in
	tacoserver:firestore) set+=(TACO_STORE=firestore) ;;
	tacoserver:bbolt) unset+=(TACO_STORE) ;;
	esac
	variables=()
	local IFS=,
	[ ${#set[@]} = 0 ] || variables+=("--update-env-vars=${set[*]}")
	[ ${#unset[@]} = 0 ] || variables+=("--remove-env-vars=${unset[*]}")
}

# log_in has the builder push with gcloud's rights.
log_in() {
	case $BUILDER in
	docker)
		[ "$registry" != "$region-docker.pkg.dev" ] ||
			try "let docker push to $registry" roles/artifactregistry.writer gcloud auth configure-docker "$registry" --quiet
		;;
	podman | buildah)
		gcloud auth print-access-token 2>"$log" </dev/null >"$dir/token" || fail "get an access token" roles/artifactregistry.writer
		"$BUILDER" login --authfile="$dir/auth.json" --username=oauth2accesstoken --password-stdin "$registry" <"$dir/token" >"$log" 2>&1 ||
			fail "log in to $registry" roles/artifactregistry.writer
		;;
	esac
}

# image FOLDER SERVICE builds and pushes the service's image.
image() {
	local arguments=(--platform=linux/amd64 "--build-arg=build_target=$1" "--build-arg=revision=$revision" "--tag=$images/$2:$version")
	[ -z "${GO_IMAGE-}" ] || arguments+=("--build-arg=GO_IMAGE=$GO_IMAGE")
	[ -z "${BASE_IMAGE-}" ] || arguments+=("--build-arg=BASE_IMAGE=$BASE_IMAGE")
	case $BUILDER in
	docker)
		try "build $2" "" docker build "${arguments[@]}" .
		try "push $2" roles/artifactregistry.writer docker push "$images/$2:$version"
		;;
	podman | buildah)
		try "build $2" "" "$BUILDER" build --layers "${arguments[@]}" .
		try "push $2" roles/artifactregistry.writer "$BUILDER" push --authfile="$dir/auth.json" "$images/$2:$version"
		;;
	cloudbuild)
		{
			echo "steps:"
			echo "- name: gcr.io/cloud-builders/docker"
			echo "  env: [DOCKER_BUILDKIT=1]"
			printf '  args: [build'
			printf ', "%s"' "${arguments[@]}"
			echo ', .]'
			echo "images: [\"$images/$2:$version\"]"
			echo "options: {logging: CLOUD_LOGGING_ONLY}"
		} >"$dir/cloudbuild.yaml"
		try "build and push $2 with Cloud Build" roles/cloudbuild.builds.editor \
			gcloud builds submit --config="$dir/cloudbuild.yaml" --project="$project" --quiet .
		;;
	esac
}

# deploy SERVICE FLAG makes a new revision of the service and sends all to it. Who
# may call it is asked of IAM whatever it was before.
deploy() {
	local marked=()
	environment "$1"
	there "service $1" gcloud run services describe "$1" --region="$region" --project="$project" || marked=("--labels=$label")
	try_new "deploy $1" gcloud run deploy "$1" --image="$images/$1:$version" --service-account="$(account "$1")" \
		"$2" --invoker-iam-check "${variables[@]}" ${marked[@]+"${marked[@]}"} --region="$region" --project="$project" --quiet && return
	if grep -q 'failed to start and listen' "$log"; then
		local why lines
		why=$(said)
		lines=$(gcloud run services logs read "$1" --limit=5 --region="$region" --project="$project" 2>/dev/null </dev/null | tr '\n' '|' || true)
		die "deploy $1: $why Its last log lines: ${lines:-none}"
	fi
	fail "deploy $1" "roles/run.admin and roles/iam.serviceAccountUser"
}

# let_in SERVICE MEMBER lets an account call the service.
let_in() {
	try_new "let $2 call $1" gcloud run services add-iam-policy-binding "$1" --region="$region" --project="$project" \
		--member="$2" --role=roles/run.invoker || fail "let $2 call $1" roles/run.admin
}

# find_url SERVICE sets url to where it is.
find_url() {
	gcloud run services describe "$1" --region="$region" --project="$project" --format='value(status.url)' >"$log" 2>"$dir/warnings" </dev/null || {
		cat "$dir/warnings" >>"$log"
		fail "read $1's URL" roles/run.viewer
	}
	url=$(cat "$log")
	[ -n "$url" ] || die "$1 has no URL: see gcloud run services describe $1 --region=$region"
}

# ask URL [HEADERS] calls it, with the headers in a file, and prints the status. The
# answer is in $dir/answer then.
ask() {
	: >"$dir/answer"
	curl --silent --show-error --max-time 60 --output "$dir/answer" --write-out '%{http_code}' ${2+--header "@$2"} "$1" 2>"$log" </dev/null || true
}

# until_status WHAT SERVICE STATUS [HEADERS] calls url until it is answered so: it
# takes up to some minutes until a change of IAM counts everywhere.
until_status() {
	local what=$1 service=$2 want=$3 got end=$((SECONDS + ${PATIENCE:-300}))
	shift 3
	while :; do
		got=$(ask "$url" "$@")
		[ "$got" != "$want" ] || return 0
		[ "$SECONDS" -lt "$end" ] || break
		sleep 3
	done
	die "$what: $url answers ${got/000/nothing}, not $want: $(cat "$dir/answer" "$log" | tr '\n' ' ' | cut -c 1-300)(see gcloud run services logs read $service --region=$region)"
}

# invokers sets may_call to who has which role on tacoserver, one a line.
invokers() {
	gcloud run services get-iam-policy tacoserver --region="$region" --project="$project" \
		--flatten='bindings[].members' --format='value(bindings.role,bindings.members)' >"$log" 2>&1 </dev/null ||
		fail "read who may call tacoserver" roles/run.admin
	may_call=$(cat "$log")
}

# remove WHAT MARK DESCRIBE... -- DELETE... deletes what this script has made.
remove() {
	local what=$1 mark=$2 describe=()
	shift 2
	while [ "$1" != -- ]; do
		describe+=("$1")
		shift
	done
	shift
	if ! there "$what" "${describe[@]}"; then
		return
	fi
	if ! grep -qxF "$mark" "$log"; then
		echo "leave $what: this script did not make it"
		return
	fi
	try "delete $what" "the role to delete it" "$@"
}

teardown() {
	local s
	for s in tacoclient tacoserver; do
		remove "service $s" "${label#*=}" \
			gcloud run services describe "$s" --region="$region" --project="$project" --format="value(metadata.labels.${label%%=*})" -- \
			gcloud run services delete "$s" --region="$region" --project="$project" --quiet
	done
	remove "the image repository" "$mark" \
		gcloud artifacts repositories describe otorun --location="$region" --project="$project" --format='value(description)' -- \
		gcloud artifacts repositories delete otorun --location="$region" --project="$project" --quiet
	leave_database
	for s in tacoclient tacoserver; do
		remove "service account $s" "$mark" \
			gcloud iam service-accounts describe "$(account "$s")" --project="$project" --format='value(description)' -- \
			gcloud iam service-accounts delete "$(account "$s")" --project="$project" --quiet
	done
	echo "The APIs stay enabled: something else may use them."
}

case ${1-} in
'' | teardown) ;;
*) die "$1: there is no such command: give none, or teardown" ;;
esac
case ${cloudhash-} in
*[!a-z0-9]*) die "cloudhash=$cloudhash is no hash: take the ten letters and digits before the region in a URL like https://tacoserver-dpyb4duzqq-uc.a.run.app" ;;
esac
case ${TACO_STORE-} in
'' | bbolt | firestore) ;;
*) die "TACO_STORE=$TACO_STORE: set it to bbolt or firestore" ;;
esac
case ${CLIENT_ACCESS:-private} in
private) client_flag=--no-allow-unauthenticated ;;
public) client_flag=--allow-unauthenticated ;;
*) die "CLIENT_ACCESS=$CLIENT_ACCESS: set it to private or public" ;;
esac
command -v gcloud >/dev/null || die "gcloud is not installed: see https://cloud.google.com/sdk/docs/install"
project=$(setting project)
[ -n "$project" ] || die "no project: gcloud config set project PROJECT"
region=${REGION:-$(setting run/region)}
[ -n "$region" ] || die "no region: gcloud config set run/region us-central1, or set REGION"

dir=$(mktemp -d "${TMPDIR:-/tmp}/buildanddeploy.XXXXXX")
log=$dir/log # what the last command said
keep_log=
# It has a token: nothing of it stays, but for a log that a message names.
trap 'rm -f "$dir/token" "$dir/auth.json"; [ -n "$keep_log" ] || rm -rf "$dir"' EXIT

if [ "${1-}" = teardown ]; then
	teardown
	exit
fi

command -v curl >/dev/null || die "curl is not installed, which the services are called with"
BUILDER=${BUILDER:-$(builder)}
case $BUILDER in
docker)
	command -v docker >/dev/null || die "docker is not installed: install it, or set BUILDER to podman, buildah or cloudbuild"
	docker info >"$log" 2>&1 </dev/null || die "docker's daemon does not answer: start it, or set BUILDER to podman, buildah or cloudbuild ($(said))"
	;;
podman | buildah)
	command -v "$BUILDER" >/dev/null || die "$BUILDER is not installed: install it, or set BUILDER=cloudbuild, which builds in the cloud"
	;;
cloudbuild) ;;
*) die "BUILDER=$BUILDER: set it to docker, podman, buildah or cloudbuild" ;;
esac
registry=$region-docker.pkg.dev
[ "$BUILDER" != docker ] || registry=${CLOUDRUN_ADDR:-$registry}
images=$registry/$project/otorun
version=$(date -u +%Y%m%d-%H%M%S)
revision=$(git rev-parse HEAD 2>/dev/null || true)

apis=(run.googleapis.com artifactregistry.googleapis.com iam.googleapis.com)
[ "$BUILDER" != cloudbuild ] || apis+=(cloudbuild.googleapis.com)
[ "${TACO_STORE-}" != firestore ] || apis+=(firestore.googleapis.com)
try "enable the APIs" roles/serviceusage.serviceUsageAdmin gcloud services enable "${apis[@]}" --project="$project"
ensure_account tacoserver
ensure_account tacoclient
[ "${TACO_STORE-}" != firestore ] || ensure_database
ensure_repository
log_in
image server tacoserver
image client tacoclient

deploy tacoserver --no-allow-unauthenticated
# gcloud only warns when it could not change who may call a service.
invokers
case $may_call in
*allUsers* | *allAuthenticatedUsers*)
	die "tacoserver is open to everybody: gcloud run services get-iam-policy tacoserver --region=$region shows the binding to remove"
	;;
esac
find_url tacoserver
echo "see that tacoserver lets nobody else in"
until_status "tacoserver is open to everybody" tacoserver 403
member=serviceAccount:$(account tacoclient)
case $may_call in
*"roles/run.invoker	$member"*) ;;
*) let_in tacoserver "$member" ;;
esac
deploy tacoclient "$client_flag"

find_url tacoclient
echo "call tacoclient"
if [ "$client_flag" = --allow-unauthenticated ]; then
	until_status "call tacoclient" tacoclient 200
	line="curl $url"
else
	# A service account's token is for one service, a person's for all.
	audience=--audiences=$url
	token=$(gcloud auth print-identity-token "$audience" 2>/dev/null </dev/null) || {
		audience=
		token=$(gcloud auth print-identity-token 2>"$log" </dev/null) || fail "get an identity token" roles/iam.serviceAccountTokenCreator
	}
	echo "Authorization: Bearer $token" >"$dir/token"
	# Who owns the project, or administers its services, may call them anyway.
	me=$(setting account)
	if [ "$(ask "$url" "$dir/token")" = 403 ] && [ -n "$me" ]; then
		case $me in
		*.gserviceaccount.com) let_in tacoclient "serviceAccount:$me" ;;
		*) let_in tacoclient "user:$me" ;;
		esac
	fi
	until_status "call tacoclient" tacoclient 200 "$dir/token"
	# shellcheck disable=SC2016 # the reader's shell is to run gcloud, not this one
	line='curl -H "Authorization: Bearer $(gcloud auth print-identity-token'${audience:+ $audience}')" '$url
fi
printf '\n%s\n\n%s\n' "$(cat "$dir/answer")" "$line"
