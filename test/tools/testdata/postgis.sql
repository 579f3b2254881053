-- Statements over PostGIS. honest.sql says what the parts of an entry mean.

-- @geometry
SELECT id, at, ST_AsText(at), ST_X(at), ST_Y(at), ST_SRID(at), ST_AsGeoJSON(at), GeometryType(at), ST_AsEWKT(area) FROM places ORDER BY id
-- @distance
SELECT a.name, b.name, ST_Distance(a.spot, b.spot), ST_DWithin(a.spot, b.spot, 1000000), a.at <-> b.at FROM places a JOIN places b ON a.id < b.id AND b.id < 3
-- @nearest
SELECT name FROM places ORDER BY at <-> ST_SetSRID(ST_MakePoint(13, 52), 4326) LIMIT 1
-- @predicates
SELECT a.id, b.id, ST_Intersects(a.area, b.area), ST_Contains(a.area, b.area), ST_Touches(a.area, b.area), a.area && b.area, a.area ~ b.area, a.area = b.area, ST_Area(ST_Intersection(a.area, b.area)) FROM places a, places b WHERE a.id < 3 AND b.id < 3 ORDER BY 1, 2
-- @constructors
SELECT ST_AsText(ST_GeomFromText('LINESTRING(0 0,1 1)')), ST_AsText(ST_Buffer('POINT(0 0)'::geometry, 1, 2)), ST_Length('LINESTRING(0 0,3 4)'::geometry), ST_AsText(ST_Centroid(area)), ST_AsText(ST_Envelope(area)), ST_IsValid(area), ST_NPoints(area), ST_AsBinary(at), 'POINT(1 2)'::geometry(Point, 4326) IS NULL FROM places WHERE id = 1
-- @constructors-2
SELECT ST_AsText(ST_GeomFromText('LINESTRING(0 0,1 1)')), ST_AsText(ST_Buffer('POINT(0 0)'::geometry, 1, 2)), ST_Length('LINESTRING(0 0,3 4)'::geometry), ST_AsText(ST_Centroid(area)), ST_AsText(ST_Envelope(area)), ST_IsValid(area), ST_NPoints(area), ST_AsBinary(at), 'SRID=4326;POINT(1 2)'::geometry(Point, 4326) FROM places WHERE id = 1
-- @transform
SELECT ST_AsText(ST_Transform(at, 3857), 1) FROM places WHERE id = 1
-- @aggregates
SELECT ST_AsText(ST_Union(area)), ST_Extent(area), ST_AsText(ST_Collect(at)), ST_AsText(ST_MakeLine(at ORDER BY id)) FROM places
-- @dump
SELECT id, d.path, ST_AsText(d.geom) FROM places, ST_DumpPoints(area) d WHERE id = 1 ORDER BY 2
-- @dump-field
SELECT (ST_Dump(area)).path, ST_AsText((ST_Dump(area)).geom) FROM places WHERE id = 1
-- @geojson-feature
SELECT json_build_object('type', 'Feature', 'geometry', ST_AsGeoJSON(at)::json, 'properties', json_build_object('name', name)) FROM places WHERE id = 1
-- @geojson-row
SELECT ST_AsGeoJSON(t) FROM (SELECT id, at FROM places WHERE id = 1) t
-- @tile
SELECT ST_AsMVT(q, 'layer') FROM (SELECT id, ST_AsMVTGeom(ST_Transform(at, 3857), ST_TileEnvelope(3, 4, 2)) AS geom FROM places) q
-- @param
SELECT id FROM places WHERE ST_DWithin(at, ST_SetSRID(ST_MakePoint($1, $2), 4326), $3) AND at && ST_MakeEnvelope(0, 40, 20, 60, 4326) ORDER BY id
-- args: ["13.4", "52.5", "0.1"]
-- @insert
INSERT INTO places (id, name, at, spot) VALUES (9, 'Rome', ST_Point(12.5, 41.9, 4326), 'POINT(12.5 41.9)') RETURNING id, ST_AsText(at), spot
-- @labelled labelled
SELECT name, owner, ST_AsText(at) FROM places ORDER BY id
-- @statistics
SELECT ST_EstimatedExtent('places', 'at')
-- refused: it reads statistics
-- @srid-of-table
SELECT Find_SRID('public', 'places', 'at')
-- refused: it reads a table that a value names
