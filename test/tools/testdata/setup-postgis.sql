-- Places, for PostGIS.
CREATE EXTENSION postgis;
CREATE TABLE places (id int PRIMARY KEY, name text, owner text, at geometry(Point, 4326), area geometry, spot geography(Point, 4326));
INSERT INTO places VALUES
	(1, 'Berlin', 'Ada Lovelace', 'SRID=4326;POINT(13.4 52.5)', 'POLYGON((0 0,0 10,10 10,10 0,0 0))', 'POINT(13.4 52.5)'),
	(2, 'Paris', 'Bob Smith', 'SRID=4326;POINT(2.35 48.85)', 'POLYGON((5 5,5 15,15 15,15 5,5 5))', 'POINT(2.35 48.85)'),
	(3, NULL, NULL, NULL, NULL, NULL);
CREATE INDEX ON places USING gist (at);
