"""Paging through big tables without counting them."""

from django.core.paginator import Paginator
from django.db import connection
from django.utils.functional import cached_property

CAP = 10_000
MAX_PAGES = 400


class EstimatedCountPaginator(Paginator):
    """Counts exactly up to CAP rows; of a whole big table it takes PostgreSQL's estimate.

    Pages end at MAX_PAGES, because a page far behind costs as much as reading all rows before it: there,
    searching and filtering is what helps.
    """

    @cached_property
    def count(self) -> int:
        """Rows in the list: exact if few, the table's estimate if unfiltered, else CAP + 1 for "more"."""
        query = self.object_list
        if not query.query.where:
            rows = _estimate(query.model._meta.db_table)
            if rows > CAP:
                return rows
        return query.order_by().values("pk")[: CAP + 1].count()

    @cached_property
    def num_pages(self) -> int:
        """Pages that can be opened."""
        return min(super().num_pages, MAX_PAGES)


def _estimate(table: str) -> int:
    """PostgreSQL's last estimate of a table's rows, over all its partitions; 0 if it has none yet."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(sum(greatest(reltuples, 0)), 0)::bigint FROM pg_class "
            "WHERE oid IN (SELECT relid FROM pg_partition_tree(%s::regclass) WHERE isleaf)",
            [table],
        )
        return cursor.fetchone()[0]
