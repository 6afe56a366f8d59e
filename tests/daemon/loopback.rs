//! Publishers that get their own media back (`doLoopback`).

use hanok::units::MediaKind;

use crate::house::House;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_wants_its_own_media_back_gets_it_and_so_does_everyone_else() {
    let house = House::open().await;
    let session = house.session().await;
    let mut publisher = house.join(&session).await;
    let (stream, own) = publisher.publish_with_loopback().await.unwrap();
    let mut viewer = house.join(&session).await;
    let receiving = viewer.subscribe(&stream).await.unwrap();
    for (name, connection) in [("publisher", &own), ("viewer", &receiving)] {
        let report = connection
            .until("media arrives", |report| {
                report.video.received > 100
                    && report.audio.received > 100
                    && report.video.sender_reports > 0
            })
            .await
            .unwrap();
        assert!(report.video.is_flawless(), "{name}: {report:?}");
        assert!(report.audio.is_flawless(), "{name}: {report:?}");
        assert!(report.video.began_with_key_frame);
        assert_eq!((report.unexpected, report.unauthentic), (0, 0), "{name}");
    }
    assert_ne!(own.ssrc(MediaKind::Video), receiving.ssrc(MediaKind::Video));

    // What gets lost on the way back is sent again, and the publisher's own requests reach itself.
    own.drop_next(3).await;
    let report = own
        .until("what was lost has come", |report| {
            report.video.recovered >= 3 && report.video.missing == 0
        })
        .await
        .unwrap();
    assert!(report.video.is_complete(), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_did_not_ask_gets_nothing_back() {
    let house = House::open().await;
    let session = house.session().await;
    let mut publisher = house.join(&session).await;
    let (_, own) = publisher.publish().await.unwrap();
    let report = own
        .until("it sends", |report| report.video.sent > 50)
        .await
        .unwrap();
    assert_eq!(own.ssrc(MediaKind::Video), None);
    assert_eq!((report.video.received, report.unexpected), (0, 0));
}
