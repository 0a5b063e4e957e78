# One image for web, workers, beat and the one-off `prepare`; what it runs is the command's choice.
FROM python:3.11-slim-bookworm

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /srv/nudge

# The server's own folder: secrets and, if no DATABASE_URL is given, the embedded database.
RUN useradd --system --create-home --home-dir /home/nudge nudge \
    && install -d -o nudge -g nudge -m 700 /var/lib/nudge /var/lib/nudge/spool
ENV NUDGE_DATA=/var/lib/nudge NUDGE_DEMO=0 PORT=8000

COPY requirements.txt .
RUN pip install -r requirements.txt
COPY . .

USER nudge
VOLUME /var/lib/nudge
EXPOSE 8000
CMD ["gunicorn", "config.wsgi", "--bind", "0.0.0.0:8000", "--worker-class", "gthread", "--workers", "2", "--threads", "4", "--worker-tmp-dir", "/dev/shm", "--no-control-socket"]
