package servers

import (
	driver "go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/afgen/afgen/runtime/backend"
)

// Mongo returns the database in which an App over the servers keeps its tasks, the driver's own, for what a program keeps
// there besides: collections by other names than tasks, owners and docs. It is connected as the App is, with its pool and
// its options, by which writes wait for the journals of a majority; it lives as long as the App. Being the driver's, it knows
// nothing of degraded modes: while MongoDB is away an operation waits for 3 s. app is an *af.App; one over another backend
// is an error, unimplemented.
func Mongo(app interface{ Power() any }) (*driver.Database, error) {
	s, ok := app.Power().(*session)
	if !ok {
		return nil, backend.NewError(backend.ErrUnimplemented, "this App has no MongoDB: it doesn't run over the servers")
	}
	return s.mongo.Mongo(), nil
}
