"""SQLAlchemy over psycopg2: what its core and its mapper send, its first queries on a connection among it."""
import sqlalchemy as sa
from common import failed, say
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert
from sqlalchemy.orm import Session, declarative_base, relationship

engine = sa.create_engine("postgresql+psycopg2://")
Base = declarative_base()


class Driver(Base):
    __tablename__ = "drivers"
    id = sa.Column(sa.Integer, primary_key=True)
    n = sa.Column(sa.Numeric(12, 2))
    t = sa.Column(sa.Text)
    b = sa.Column(sa.Boolean)
    jb = sa.Column(JSONB)
    a = sa.Column(ARRAY(sa.Integer))


class Product(Base):
    __tablename__ = "products"
    id = sa.Column(sa.Integer, primary_key=True)
    name = sa.Column(sa.Text)
    price = sa.Column(sa.Numeric)


class Order(Base):
    __tablename__ = "orders"
    id = sa.Column(sa.Integer, primary_key=True)
    product_id = sa.Column(sa.ForeignKey("products.id"))
    status = sa.Column(sa.Text)
    total = sa.Column(sa.Numeric)
    product = relationship(Product)


with Session(engine) as session:
    session.add_all([Driver(id=1, n="1.50", t="x", b=True, jb={"k": [1, None]}, a=[1, 2]), Driver(id=2), Driver(id=3, t="y")])
    session.commit()
    one = session.get(Driver, 1)
    say("get", [one.n, one.t, one.b, one.jb, one.a])
    one.t = "changed"
    session.flush()
    session.rollback()
    say("rolled back", session.get(Driver, 1).t)
    nested = session.begin_nested()
    session.add(Driver(id=1))
    failed("duplicate", session.flush, sa.exc.IntegrityError, lambda e: e.orig.pgcode)
    nested.rollback() if nested.is_active else None
    session.rollback()
    q = session.query(Order).join(Order.product).filter(Product.price > 100, Order.status.in_(["paid", "open"])).order_by(Order.id).limit(3)
    say("join", [[o.id, o.product.name, o.total] for o in q])
    say("group", session.query(Order.status, sa.func.count(), sa.func.sum(Order.total)).group_by(Order.status).order_by(Order.status).all())
    sub = session.query(Order.product_id, sa.func.count().label("n")).group_by(Order.product_id).subquery()
    say("subquery", session.query(Product.id, sub.c.n).outerjoin(sub, sub.c.product_id == Product.id).order_by(Product.id).limit(3).all())
    say("window", session.query(Order.id, sa.func.row_number().over(partition_by=Order.status, order_by=Order.id)).filter(Order.id < 8).order_by(Order.id).all())
    say("json", session.query(Driver.id).filter(Driver.jb["k"][0].as_integer() == 1).all())
    say("array", session.query(Driver.id).filter(Driver.a.contains([2])).all())
    stmt = insert(Driver).values(id=1, t="upserted")
    session.execute(stmt.on_conflict_do_update(index_elements=[Driver.id], set_={"t": stmt.excluded.t}))
    say("upsert", session.query(Driver.t).filter_by(id=1).all())
    say("update", session.query(Driver).filter(Driver.id > 1).update({"b": False}, synchronize_session=False))
    say("locked", session.query(Driver.id).filter_by(id=2).with_for_update().all())
    session.query(Driver).delete()
    session.commit()
with engine.connect() as conn:
    conn = conn.execution_options(stream_results=True)
    say("stream", [r[0] for r in conn.execute(sa.text("SELECT id FROM orders ORDER BY id LIMIT 300"))][::50])
with engine.connect() as conn:
    say("labelled", [list(r) for r in conn.execute(sa.text("SELECT id, email FROM customers WHERE id < :n ORDER BY id"), {"n": 4})])
