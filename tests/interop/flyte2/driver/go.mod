module outboard.dev/interop/flyte2

go 1.26.5

require (
	connectrpc.com/connect v1.20.0
	github.com/flyteorg/flyte/v2 v2.0.43
	github.com/go-logr/logr v1.4.4
	github.com/prometheus/client_golang v1.24.1
	github.com/sirupsen/logrus v1.10.0
	k8s.io/apimachinery v0.36.3
	k8s.io/client-go v0.36.3
	sigs.k8s.io/controller-runtime v0.24.1
)
