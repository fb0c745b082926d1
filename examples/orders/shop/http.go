package shop

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/afgen/afgen/examples/orders/catalog"
	"github.com/afgen/afgen/examples/orders/orders"
	"github.com/afgen/afgen/examples/orders/tenant"
	"github.com/afgen/afgen/examples/orders/thumbnails"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/httpstatus"
)

// api is the HTTP front end. It only submits and calls: the work is done in other processes.
type api struct {
	app     *af.App
	orders  orders.OrdersAPI
	catalog catalog.CatalogAPI
	imports *catalog.ImportQueue
	thumbs  *thumbnails.ThumbnailQueue
}

// Routes returns the HTTP API. tokens has the tenant of each bearer token.
func Routes(app *af.App, tokens map[string]string) http.Handler {
	a := &api{
		app:     app,
		orders:  orders.NewOrdersClient(app),
		catalog: catalog.NewCatalogClient(app),
		imports: catalog.NewImportQueue(app),
		thumbs:  thumbnails.NewThumbnailQueue(app),
	}
	mux := http.NewServeMux()
	mux.Handle("POST /orders", handler(a.placeOrder))
	mux.Handle("POST /imports/{name}", handler(a.importFile))
	mux.Handle("GET /imports/{name}", handler(a.report))
	mux.Handle("POST /thumbnails", handler(a.thumbnail))
	mux.Handle("GET /tasks/{id...}", handler(a.task))
	mux.Handle("DELETE /tasks/{id...}", handler(a.stop))
	return tenant.Authenticate(tokens, http.MaxBytesHandler(mux, 3<<20))
}

// accepted is the answer to a request whose work has only begun: GET /tasks/ and the ID show how far it is.
type accepted struct {
	Task string `json:"task"`
}

func (a *api) placeOrder(r *http.Request) (any, error) {
	var order orders.Order
	if err := json.NewDecoder(r.Body).Decode(&order); err != nil {
		return nil, af.Errorf(af.ErrInvalidArgument, "body: %v", err)
	}
	id, err := a.orders.Place(r.Context(), order)
	return accepted{id}, err
}

// importFile begins an import. A tenant has one at a time: the store refuses a second task with the unique key.
func (a *api) importFile(r *http.Request) (any, error) {
	ctx := r.Context()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, af.Errorf(af.ErrInvalidArgument, "body: %v", err)
	}
	want, err := tenant.Key(ctx, "import", r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	unique, err := tenant.Key(ctx, "import", "")
	if err != nil {
		return nil, err
	}
	file := catalog.File{Name: r.PathValue("name"), CSV: string(body)}
	id, err := a.imports.Submit(ctx, file, af.TaskID(want), af.UniqueKey(unique))
	if err == nil && id != want {
		err = af.Errorf(af.ErrAlreadyExists, "%s has not ended", id)
	}
	return accepted{id}, err
}

func (a *api) report(r *http.Request) (any, error) {
	return a.catalog.Report(r.Context(), r.PathValue("name"))
}

// thumbnail waits for the picture. Requests for the same one share a task while it runs.
func (a *api) thumbnail(r *http.Request) (any, error) {
	ctx, cancel := context.WithTimeout(r.Context(), 20*time.Second)
	defer cancel()
	picture, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, af.Errorf(af.ErrInvalidArgument, "body: %v", err)
	}
	width, err := strconv.Atoi(r.URL.Query().Get("width"))
	if err != nil {
		return nil, af.Errorf(af.ErrInvalidArgument, "width: %v", err)
	}
	sum := sha256.Sum256(picture)
	key, err := tenant.Key(ctx, "thumbnail", hex.EncodeToString(sum[:])+"/"+strconv.Itoa(width))
	if err != nil {
		return nil, err
	}
	id, err := a.thumbs.Submit(ctx, thumbnails.Picture{PNG: picture, Width: width}, af.UniqueKey(key), af.Weight(10))
	if err != nil {
		return nil, err
	}
	thumb, err := a.thumbs.Wait(ctx, id)
	return content{"image/png", thumb}, err
}

// state is what a client sees of a task.
type state struct {
	Status   af.Status       `json:"status"`
	Progress json.RawMessage `json:"progress,omitempty"`
	Result   json.RawMessage `json:"result,omitempty"`
	Error    string          `json:"error,omitempty"`
}

func (a *api) task(r *http.Request) (any, error) {
	t, err := a.owned(r)
	if err != nil {
		return nil, err
	}
	s := state{Status: t.Status, Progress: t.Progress, Result: t.Result}
	if t.Error != nil {
		s.Error = t.Error.Message
	}
	return s, nil
}

// stop stops a task and its subtasks, such as an import and its lines.
func (a *api) stop(r *http.Request) (any, error) {
	t, err := a.owned(r)
	if err != nil {
		return nil, err
	}
	return accepted{t.ID}, a.app.StopTask(r.Context(), t.ID)
}

// owned returns the task of a request if the tenant may see it.
func (a *api) owned(r *http.Request) (af.Task, error) {
	t, err := a.app.GetTask(r.Context(), r.PathValue("id"))
	if err != nil {
		return t, err
	}
	return t, tenant.Owns(r.Context(), t)
}

// content is an answer that is not JSON.
type content struct {
	contentType string
	body        []byte
}

// A handler answers a request with a value or an error.
type handler func(r *http.Request) (any, error)

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer, err := h(r)
	if err != nil {
		httpstatus.Write(w, r, err)
		return
	}
	status := http.StatusOK
	if _, begun := answer.(accepted); begun {
		status = http.StatusAccepted
	}
	if c, ok := answer.(content); ok {
		w.Header().Set("Content-Type", c.contentType)
		_, _ = w.Write(c.body) // an error means that the client has gone
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // as above
}
