"""What gunicorn does besides its options in the Procfile; it reads this file from the folder it is started in."""


def post_worker_init(worker: object) -> None:
    """In each worker process, once the product is loaded: let it store what it takes from devices and links."""
    from delivery import spool_drain

    spool_drain.start()
