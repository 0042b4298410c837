"""ClusterRoles of users and components: upstream's bootstrap policy and what EKS adds to it."""

from __future__ import annotations

AGGREGATES = {"admin": (), "edit": ("admin",), "view": ("edit",)}
"""Roles with an aggregation rule for their own name -> the roles that they are part of."""

AGGREGATED = {
    "system:aggregate-to-admin": "admin",
    "system:aggregate-to-edit": "edit",
    "system:aggregate-to-view": "view",
}

CLUSTER_ROLES = """
cluster-admin
  *  *:*
  *  /*
system:discovery
  get  /api,/api/*,/apis,/apis/*,/healthz,/livez,/openapi,/openapi/*,/readyz,/version,/version/
system:public-info-viewer
  get  /healthz,/livez,/readyz,/version,/version/
system:monitoring
  get  /healthz,/healthz/*,/livez,/livez/*,/metrics,/metrics/slis,/readyz,/readyz/*
system:basic-user
  create  authorization.k8s.io:selfsubjectaccessreviews,selfsubjectrulesreviews
  create  authentication.k8s.io:selfsubjectreviews
system:service-account-issuer-discovery
  get  /.well-known/openid-configuration,/.well-known/openid-configuration/,/openid/v1/jwks,/openid/v1/jwks/
system:aggregate-to-admin
  create  authorization.k8s.io:localsubjectaccessreviews
  readwrite  rbac.authorization.k8s.io:roles,rolebindings
system:aggregate-to-edit
  read  pods/attach,pods/exec,pods/portforward,pods/proxy,secrets,services/proxy
  impersonate  serviceaccounts
  write  pods,pods/attach,pods/exec,pods/portforward,pods/proxy
  create  pods/eviction
  write  configmaps,events,persistentvolumeclaims,replicationcontrollers,replicationcontrollers/scale,secrets,serviceaccounts,services,services/proxy
  create  serviceaccounts/token
  write  apps:daemonsets,deployments,deployments/rollback,deployments/scale,replicasets,replicasets/scale,statefulsets,statefulsets/scale
  write  autoscaling:horizontalpodautoscalers
  write  batch:cronjobs,jobs
  write  extensions:daemonsets,deployments,deployments/rollback,deployments/scale,ingresses,networkpolicies,replicasets,replicasets/scale,replicationcontrollers/scale
  write  policy:poddisruptionbudgets
  write  networking.k8s.io:ingresses,networkpolicies
  readwrite  coordination.k8s.io:leases
  write  resource.k8s.io:resourceclaims,resourceclaimtemplates
system:aggregate-to-view
  read  configmaps,endpoints,persistentvolumeclaims,persistentvolumeclaims/status,pods,replicationcontrollers,replicationcontrollers/scale,serviceaccounts,services,services/status
  read  bindings,events,limitranges,namespaces/status,pods/log,pods/status,replicationcontrollers/status,resourcequotas,resourcequotas/status
  read  namespaces
  read  discovery.k8s.io:endpointslices
  read  apps:controllerrevisions,daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,replicasets,replicasets/scale,replicasets/status,statefulsets,statefulsets/scale,statefulsets/status
  read  autoscaling:horizontalpodautoscalers,horizontalpodautoscalers/status
  read  batch:cronjobs,cronjobs/status,jobs,jobs/status
  read  extensions:daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,ingresses,ingresses/status,networkpolicies,replicasets,replicasets/scale,replicasets/status,replicationcontrollers/scale
  read  policy:poddisruptionbudgets,poddisruptionbudgets/status
  read  networking.k8s.io:ingresses,ingresses/status,networkpolicies
  read  resource.k8s.io:resourceclaims,resourceclaims/status,resourceclaimtemplates
system:heapster
  read  events,namespaces,nodes,pods
  read  extensions:deployments
system:auth-delegator
  create  authentication.k8s.io:tokenreviews
  create  authorization.k8s.io:subjectaccessreviews
system:kube-aggregator
  read  endpoints,services
system:node
  create  authentication.k8s.io:tokenreviews
  create  authorization.k8s.io:localsubjectaccessreviews,subjectaccessreviews
  read  services
  create,get,list,watch  nodes
  patch,update  nodes/status
  patch,update  nodes
  create,patch,update  +events.k8s.io:events
  read  pods
  create,delete  pods
  patch,update  pods/status
  create  pods/eviction
  read  configmaps,secrets
  get  persistentvolumeclaims,persistentvolumes
  get  endpoints
  create,get,list,watch  certificates.k8s.io:certificatesigningrequests
  create,delete,get,patch,update  coordination.k8s.io:leases
  get  storage.k8s.io:volumeattachments
  create  serviceaccounts/token
  get,patch,update  persistentvolumeclaims/status
  read  storage.k8s.io:csidrivers
  create,delete,get,patch,update  storage.k8s.io:csinodes
  read  node.k8s.io:runtimeclasses
  get  resource.k8s.io:resourceclaims
  create,delete,deletecollection,get,list,patch,update,watch  resource.k8s.io:resourceslices
  get  serviceaccounts
system:node-problem-detector
  get  nodes
  patch  nodes/status
  create,patch,update  +events.k8s.io:events
system:kubelet-api-admin
  read  nodes
  proxy  nodes
  *  nodes/configz,nodes/healthz,nodes/log,nodes/metrics,nodes/pods,nodes/proxy,nodes/stats
system:node-bootstrapper
  create,get,list,watch  certificates.k8s.io:certificatesigningrequests
system:node-proxier
  list,watch  endpoints,services
  read  nodes
  create,patch,update  +events.k8s.io:events
  list,watch  discovery.k8s.io:endpointslices
  list,watch  networking.k8s.io:servicecidrs
system:kube-controller-manager
  create,patch,update  +events.k8s.io:events
  create  coordination.k8s.io:leases
  get,update  coordination.k8s.io:leases  kube-controller-manager
  create  secrets,serviceaccounts
  delete  secrets
  get  configmaps,namespaces,secrets,serviceaccounts
  update  secrets,serviceaccounts
  create  authentication.k8s.io:tokenreviews
  create  authorization.k8s.io:subjectaccessreviews
  list,watch  *:*
  create  serviceaccounts/token
system:kube-dns
  list,watch  endpoints,services
  list,watch  discovery.k8s.io:endpointslices
system:kube-scheduler
  create,patch,update  +events.k8s.io:events
  create  coordination.k8s.io:leases
  get,list,update,watch  coordination.k8s.io:leases  kube-scheduler
  read  nodes
  delete,get,list,watch  pods
  create  bindings,pods/binding
  patch,update  pods/status
  read  replicationcontrollers,services
  read  apps+extensions:replicasets
  read  apps:statefulsets
  read  policy:poddisruptionbudgets
  read  persistentvolumeclaims,persistentvolumes
  create  authentication.k8s.io:tokenreviews
  create  authorization.k8s.io:subjectaccessreviews
  read  storage.k8s.io:csinodes
  read  namespaces
  read  storage.k8s.io:csidrivers
  read  storage.k8s.io:csistoragecapacities
  read  storage.k8s.io:volumeattachments
  read  resource.k8s.io:deviceclasses,resourceclaims,resourceslices
  patch,update  resource.k8s.io:resourceclaims,resourceclaims/status
  update  pods/finalizers
  create,delete  resource.k8s.io:resourceclaims
  read  resource.k8s.io:devicetaintrules
  patch,update  resource.k8s.io:resourceclaims/binding
system:persistent-volume-provisioner
  create,delete,get,list,watch  persistentvolumes
  get,list,update,watch  persistentvolumeclaims
  read  storage.k8s.io:storageclasses
  watch  events
  create,patch,update  +events.k8s.io:events
system:volume-scheduler
  readupdate  persistentvolumes
  read  storage.k8s.io:storageclasses
  readupdate  persistentvolumeclaims
system:certificates.k8s.io:certificatesigningrequests:nodeclient
  create  certificates.k8s.io:certificatesigningrequests/nodeclient
system:certificates.k8s.io:certificatesigningrequests:selfnodeclient
  create  certificates.k8s.io:certificatesigningrequests/selfnodeclient
system:certificates.k8s.io:legacy-unknown-approver
  approve  certificates.k8s.io:signers  kubernetes.io/legacy-unknown
system:certificates.k8s.io:kubelet-serving-approver
  approve  certificates.k8s.io:signers  kubernetes.io/kubelet-serving
system:certificates.k8s.io:kube-apiserver-client-approver
  approve  certificates.k8s.io:signers  kubernetes.io/kube-apiserver-client
system:certificates.k8s.io:kube-apiserver-client-kubelet-approver
  approve  certificates.k8s.io:signers  kubernetes.io/kube-apiserver-client-kubelet
"""  # noqa: E501

EKS_CLUSTER_ROLES = """
eks:node-bootstrapper
  create  certificates.k8s.io:certificatesigningrequests/selfnodeserver
eks:certificate-controller
  read  certificates.k8s.io:certificatesigningrequests
  update  certificates.k8s.io:certificatesigningrequests/approval,certificatesigningrequests/status
  approve,sign  certificates.k8s.io:signers
eks:node-manager
  read  pods
  create  pods/eviction
  delete,get,list,patch,watch  nodes
eks:pod-identity-mutating-webhook
  read  serviceaccounts
  create,patch,update  events
eks:kube-proxy-windows
  list,watch  endpoints,services
  read  nodes
  create,patch,update  +events.k8s.io:events
  list,watch  discovery.k8s.io:endpointslices
"""

CLUSTER_ROLE_BINDINGS = """
cluster-admin
  cluster-admin  Group:system:masters
system:discovery
  system:discovery  Group:system:authenticated
system:basic-user
  system:basic-user  Group:system:authenticated
system:public-info-viewer
  system:public-info-viewer  Group:system:authenticated  Group:system:unauthenticated
system:monitoring
  system:monitoring  Group:system:monitoring
system:node-proxier
  system:node-proxier  User:system:kube-proxy
system:kube-controller-manager
  system:kube-controller-manager  User:system:kube-controller-manager
system:kube-dns
  system:kube-dns  ServiceAccount:kube-system/kube-dns
system:kube-scheduler
  system:kube-scheduler  User:system:kube-scheduler
system:volume-scheduler
  system:volume-scheduler  User:system:kube-scheduler
system:node
  system:node
system:service-account-issuer-discovery
  system:service-account-issuer-discovery  Group:system:serviceaccounts
"""

EKS_CLUSTER_ROLE_BINDINGS = """
eks:node-bootstrapper
  eks:node-bootstrapper  Group:system:bootstrappers  Group:system:nodes
eks:certificate-controller
  eks:certificate-controller  User:eks:certificate-controller
eks:node-manager
  eks:node-manager  User:eks:node-manager
eks:pod-identity-mutating-webhook
  eks:pod-identity-mutating-webhook  User:eks:pod-identity-mutating-webhook
eks:kube-proxy
  system:node-proxier  ServiceAccount:kube-system/kube-proxy
eks:kube-proxy-fargate
  system:node-proxier  Group:system:node-proxier
eks:kube-proxy-windows
  eks:kube-proxy-windows  Group:eks:kube-proxy-windows
"""

ROLES = """
kube-system/extension-apiserver-authentication-reader
  read  configmaps  extension-apiserver-authentication
kube-system/system:controller:bootstrap-signer
  read  secrets
kube-system/system:controller:cloud-provider
  create,get,list,patch,watch  configmaps
kube-system/system:controller:token-cleaner
  delete,get,list,watch  secrets
  create,patch,update  +events.k8s.io:events
kube-system/system::leader-locking-kube-controller-manager
  watch  configmaps
  get,update  configmaps  kube-controller-manager
kube-system/system::leader-locking-kube-scheduler
  watch  configmaps
  get,update  configmaps  kube-scheduler
kube-public/system:controller:bootstrap-signer
  read  configmaps
  update  configmaps  cluster-info
  create,patch,update  +events.k8s.io:events
"""

ROLE_BINDINGS = """
kube-system/system::extension-apiserver-authentication-reader
  extension-apiserver-authentication-reader  User:system:kube-controller-manager  User:system:kube-scheduler
kube-system/system:controller:bootstrap-signer
  system:controller:bootstrap-signer  ServiceAccount:kube-system/bootstrap-signer
kube-system/system:controller:cloud-provider
  system:controller:cloud-provider  ServiceAccount:kube-system/cloud-provider
kube-system/system:controller:token-cleaner
  system:controller:token-cleaner  ServiceAccount:kube-system/token-cleaner
kube-system/system::leader-locking-kube-controller-manager
  system::leader-locking-kube-controller-manager  User:system:kube-controller-manager  ServiceAccount:kube-system/kube-controller-manager
kube-system/system::leader-locking-kube-scheduler
  system::leader-locking-kube-scheduler  User:system:kube-scheduler  ServiceAccount:kube-system/kube-scheduler
kube-public/system:controller:bootstrap-signer
  system:controller:bootstrap-signer  ServiceAccount:kube-system/bootstrap-signer
"""  # noqa: E501
