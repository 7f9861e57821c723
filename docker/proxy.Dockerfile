# The door before the SuperLink: nginx with docs/systemd/proxy.conf, and nothing of ours that runs.
#
#   docker build --file docker/proxy.Dockerfile --tag murmuration-proxy .
#
# PROXY_IMAGE is any image with nginx 1.22 or later and bash; build it again (--pull) when nginx is mended.
ARG PROXY_IMAGE=nginx:1.28

FROM ${PROXY_IMAGE}
COPY docs/systemd/proxy.conf /etc/murmuration/proxy.conf
# In compose the SuperLink is no neighbour on loopback, but the other host of a network of two.
RUN sed -i 's/127\.0\.0\.1:9093/fleet-api:9093/' /etc/murmuration/proxy.conf && grep -q fleet-api:9093 /etc/murmuration/proxy.conf
USER 10001:10001
ENTRYPOINT []
CMD ["nginx", "-e", "stderr", "-c", "/etc/murmuration/proxy.conf", "-g", "daemon off;"]
