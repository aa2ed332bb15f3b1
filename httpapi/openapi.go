package httpapi

import (
	_ "embed"
	"sync"

	"github.com/gin-gonic/gin"
	"github.com/goccy/go-yaml"
)

// openapiYAML describes every route; a test walks the routes against it in
// both directions.
//
//go:embed openapi.yaml
var openapiYAML []byte

// openapiPage serves the document. It is converted when it is first asked for:
// most agents are never asked.
func openapiPage() handler {
	document := sync.OnceValues(func() ([]byte, error) { return yaml.YAMLToJSON(openapiYAML) })
	return func(*gin.Context) (reply, error) {
		b, err := document()
		return reply{contentType: contentJSON, raw: b}, err
	}
}
