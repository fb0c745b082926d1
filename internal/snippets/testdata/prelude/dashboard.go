package prelude

var mux *http.ServeMux

func userOf(*http.Request) (u admin.User, err error) { return }
