// Reads Envoy configurations as Envoy does, with every rule of its definitions, and the values of prometheus-adapter's chart with the
// adapter's own code, down to the queries that it would send: go run -mod=mod . ADAPTER-VALUES.yaml ENVOY.yaml...
package main

import (
	"errors"
	"fmt"
	"os"

	bootstrap "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/fixed_heap/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	adapter "sigs.k8s.io/prometheus-adapter/pkg/config"
	"sigs.k8s.io/prometheus-adapter/pkg/naming"
	"sigs.k8s.io/yaml"
)

var count int

// Every message with a generated validator, those inside Any too.
func check(path string, m proto.Message) error {
	if any, ok := m.(*anypb.Any); ok {
		inner, err := any.UnmarshalNew()
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return check(path, inner)
	}
	if v, ok := m.(interface{ ValidateAll() error }); ok {
		count++
		if err := v.ValidateAll(); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	var first error
	m.ProtoReflect().Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		name := path + "." + string(fd.Name())
		visit := func(value protoreflect.Value) {
			if first == nil {
				first = check(name, value.Message().Interface())
			}
		}
		switch {
		case fd.IsMap():
			if fd.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, value protoreflect.Value) bool { visit(value); return true })
			}
		case fd.IsList():
			if fd.Message() != nil {
				for i := 0; i < v.List().Len(); i++ {
					visit(v.List().Get(i))
				}
			}
		case fd.Message() != nil:
			visit(v)
		}
		return first == nil
	})
	return first
}

func checkEnvoy(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	json, err := yaml.YAMLToJSON(text)
	if err != nil {
		return err
	}
	config := &bootstrap.Bootstrap{}
	count = 0
	if err := protojson.Unmarshal(json, config); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if err := check("bootstrap", config); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	fmt.Printf("Envoy: a valid Bootstrap, %d messages checked\n", count)
	return nil
}

func checkAdapter(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var values struct {
		Rules struct {
			Custom any `json:"custom"`
		} `json:"rules"`
	}
	if err := yaml.Unmarshal(text, &values); err != nil {
		return err
	}
	rules, err := yaml.Marshal(map[string]any{"rules": values.Rules.Custom})
	if err != nil {
		return err
	}
	config, err := adapter.FromYAML(rules)
	if err != nil {
		return err
	}
	if len(config.Rules) == 0 {
		return errors.New("no rules")
	}
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{{Version: "v1"}})
	mapper.Add(schema.GroupVersionKind{Version: "v1", Kind: "Pod"}, meta.RESTScopeNamespace)
	mapper.Add(schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}, meta.RESTScopeRoot)
	namers, err := naming.NamersFromConfig(config.Rules, mapper)
	if err != nil {
		return err
	}
	for index, namer := range namers {
		query, err := namer.QueryForSeries("series", schema.GroupResource{Resource: "pods"}, "tensor-consensus", labels.Everything(), "a", "b")
		if err != nil {
			return fmt.Errorf("rule %d: %w", index, err)
		}
		fmt.Printf("adapter: rule %d asks %s\n", index, query)
	}
	return nil
}

func main() {
	errs := []error{checkAdapter(os.Args[1])}
	for _, file := range os.Args[2:] {
		errs = append(errs, checkEnvoy(file))
	}
	if err := errors.Join(errs...); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
