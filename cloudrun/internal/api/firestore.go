package api

import "net/http"

// firestoreSurface refuses: databases aren't emulated.
func (s *Server) firestoreSurface() *surface {
	refused := func(*call) (any, error) {
		return nil, unsupported("Firestore isn't emulated by the local platform: run Firestore's own emulator, let the services reach it with -door HOST:PORT, and set FIRESTORE_EMULATOR_HOST")
	}
	const databases = "v1/projects/{project}/databases"
	return &surface{name: "firestore.googleapis.com", routes: []route{
		{http.MethodGet, databases, "", refused},
		{http.MethodPost, databases, "", refused},
		{http.MethodGet, databases + "/{database}", "", refused},
		{http.MethodDelete, databases + "/{database}", "", refused},
	}}
}
