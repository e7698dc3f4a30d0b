package api

import "net/http"

// firestoreSurface is the API of Firestore's databases. One emulator, where one
// runs, serves all of them; what is in them is not this API's.
// https://docs.cloud.google.com/firestore/docs/reference/rest/v1/projects.databases
func (s *Server) firestoreSurface() *surface {
	const (
		databases = "v1/projects/{project}/databases"
		database  = databases + "/{database}"
		get       = "datastore.databases.get"
		create    = "datastore.databases.create"
	)
	emulated := func(f func(*call) (any, error)) func(*call) (any, error) {
		return func(c *call) (any, error) {
			if s.Firestore == "" {
				return nil, unsupported("Firestore isn't emulated by this platform: start it with -firestore, which runs Firestore's own emulator")
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			return f(c)
		}
	}
	one := func(f func(name string, database object) (any, error)) func(*call) (any, error) {
		return emulated(func(c *call) (any, error) {
			d := s.databases[c.params["database"]]
			if d == nil {
				return nil, notFound("Project '%s' or database '%s' does not exist.", s.project, c.params["database"])
			}
			return f(c.params["database"], d)
		})
	}
	return &surface{name: "firestore.googleapis.com", routes: []route{
		{http.MethodGet, databases, get, emulated(func(*call) (any, error) {
			all := []object{}
			for _, id := range sortedKeys(s.databases) {
				all = append(all, s.databases[id])
			}
			return object{"databases": all}, nil
		})},
		{http.MethodPost, databases, create, emulated(func(c *call) (any, error) {
			var d object
			if err := c.decode(&d); err != nil {
				return nil, err
			}
			id := c.URL.Query().Get("databaseId")
			switch {
			case id == "" || d == nil:
				return nil, invalid("the request has no databaseId, or no database")
			case s.databases[id] != nil:
				return nil, exists("Database already exists. Please use another database_id")
			}
			d["name"] = s.directory.Project() + "/databases/" + id
			d["uid"] = newUID()
			s.databases[id] = d
			return s.databaseOperation(d), nil
		})},
		{http.MethodGet, database, get, one(func(_ string, d object) (any, error) { return d, nil })},
		{http.MethodDelete, database, create, one(func(id string, d object) (any, error) {
			delete(s.databases, id)
			return s.databaseOperation(d), nil
		})},
	}}
}

// databaseOperation is something done to a database, which takes no time here.
func (s *Server) databaseOperation(d object) object {
	return object{"name": text(d, "name") + "/operations/" + newUID(), "done": true, "response": d}
}
